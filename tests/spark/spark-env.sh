# Read before a JVM starts.
# Spark ends its Python workers without letting coverage save what it saw there: measuring them costs time and tells nothing.
unset COVERAGE_PROCESS_CONFIG COVERAGE_PROCESS_START
# Two JVMs share two cores: a collector that works beside the program works against the other one.
SPARK_SUBMIT_OPTS="-XX:+UseParallelGC $SPARK_SUBMIT_OPTS"
