# Read before the JVM starts.
# A few minutes on two cores, which Python shares: what works beside the program works against it. So the compiler stops at its first level, which saves a
# third of the CPU (its code is larger, hence the cache), the collector does not run beside the program, and classes are not verified.
SPARK_SUBMIT_OPTS="-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=300m -XX:+UseParallelGC -Xms1g -Xmn600m -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote $SPARK_SUBMIT_OPTS"
