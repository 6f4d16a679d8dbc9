# Read before a JVM starts.
# Spark ends its Python workers without letting coverage save what it saw there: measuring them costs time and tells nothing.
unset COVERAGE_PROCESS_CONFIG COVERAGE_PROCESS_START
. "$SPARK_CONF_DIR/../../samples/spark/spark-env.sh"
