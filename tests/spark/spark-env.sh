# Read before a JVM starts.
# Spark ends its Python workers without letting coverage save what it saw there: measuring them costs time and tells nothing.
unset COVERAGE_PROCESS_CONFIG COVERAGE_PROCESS_START
# Two JVMs share two cores: what works beside the program works against the other one. So the compiler stops at its first level, which saves a third of
# the CPU (its code is larger, hence the cache), the collector does not run beside the program, and classes are not verified.
SPARK_SUBMIT_OPTS="-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=300m -XX:+UseParallelGC -Xms1g -Xmn600m -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote $SPARK_SUBMIT_OPTS"
