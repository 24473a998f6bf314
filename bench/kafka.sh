#!/bin/sh
# kafka.sh starts one Apache Kafka broker (KRaft) from its Maven Central jars, to
# test and measure against.
#
#   bench/kafka.sh start        starts it in the background, prints HOST:PORT
#   bench/kafka.sh stop         stops it and deletes its data
#   bench/kafka.sh run CMD...   starts one, runs CMD with LEVADA_KAFKA=HOST:PORT
#                               and LEVADA_KAFKA_PID, _DATA, stops it; exits as CMD did
#
# KAFKA_RUN_DIR holds the data, the log and the pid (default: one per user under
# the temporary directory; run takes a new one). The class path is cached under
# the user's cache directory. KAFKA_HEAP sets the heap (default 1g). Extra
# broker settings, one a line, are taken from KAFKA_EXTRA.
# Exit: 0 done, 1 the broker failed, 2 wrong use, 3 Java or Maven is missing.
set -eu

version=4.3.1
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/levada/kafka-$version
run=${KAFKA_RUN_DIR:-${TMPDIR:-/tmp}/levada-kafka-$(id -u)}

die() {
	code=$1
	shift
	echo "kafka.sh: $*" >&2
	exit "$code"
}

# need names a program and the package that brings it.
need() {
	command -v "$1" >/dev/null 2>&1 || die 3 "$1 is not installed: install it with 'apt-get install $2'"
}

# class_path prints the jars of Kafka, which Maven fetches the first time.
class_path() {
	if [ ! -s "$cache/classpath" ]; then
		need mvn maven
		mkdir -p "$cache"
		echo "kafka.sh: fetching the jars of Apache Kafka $version with Maven (about 130 MB, once)" >&2
		mvn -q -B -f "$here/kafka/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath \
			-Dmdep.outputFile="$cache/classpath.new" >"$cache/maven.log" 2>&1 ||
			die 3 "Maven could not fetch the jars; see $cache/maven.log"
		mv "$cache/classpath.new" "$cache/classpath"
	fi
	first=$(cut -d: -f1 "$cache/classpath")
	if [ ! -e "$first" ]; then
		rm -f "$cache/classpath"
		class_path
		return
	fi
	cat "$cache/classpath"
}

# port_open tells whether something listens on a loopback port.
port_open() {
	hex=$(printf '%04X' "$1")
	cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v p=":$hex" '$4 == "0A" && $2 ~ p"$" { found = 1 } END { exit !found }'
}

# free_port prints a port below the ephemeral range on which nothing listens.
free_port() {
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		n=$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')
		p=$((20000 + n % 12000))
		if ! port_open "$p"; then
			echo "$p"
			return
		fi
	done
	die 1 "no free port between 20000 and 32000"
}

alive() {
	[ -s "$run/pid" ] && kill -0 "$(cat "$run/pid")" 2>/dev/null
}

write_config() {
	cat >"$run/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$run/data
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
log.retention.ms=-1
log.segment.delete.delay.ms=1000
auto.create.topics.enable=false
${KAFKA_EXTRA:-}
END
}

start() {
	need java default-jre-headless
	if alive; then
		cat "$run/address"
		return
	fi
	jars=$(class_path)
	rm -rf "$run"
	mkdir -p "$run"
	port=$(free_port)
	controller=$(free_port)
	[ "$port" != "$controller" ] || controller=$(free_port)
	write_config
	echo "log4j2 off" >"$run/log"
	cluster=$(java -cp "$jars" kafka.tools.StorageTool random-uuid 2>>"$run/log") || die 1 "StorageTool failed; see $run/log"
	java -cp "$jars" kafka.tools.StorageTool format --ignore-formatted -t "$cluster" -c "$run/server.properties" \
		>>"$run/log" 2>&1 || die 1 "formatting the storage failed; see $run/log"
	launch "$jars"
	cat "$run/address"
}

# launch starts the broker over the data in $run and waits for its port.
launch() {
	# Its own session: a Ctrl-C in the terminal stops kafka.sh, which stops it.
	setsid java -Xmx"${KAFKA_HEAP:-1g}" -XX:+UseG1GC -Dlog4j2.level=WARN -cp "$1" kafka.Kafka "$run/server.properties" \
		>>"$run/log" 2>&1 </dev/null &
	echo $! >"$run/pid"
	tries=0
	until port_open "$port"; do
		alive || die 1 "the broker ended; see $run/log"
		tries=$((tries + 1))
		[ "$tries" -le 600 ] || die 1 "the broker does not listen after 60 s; see $run/log"
		sleep 0.1
	done
	echo "127.0.0.1:$port" >"$run/address"
}

stop() {
	if alive; then
		pid=$(cat "$run/pid")
		kill "$pid"
		tries=0
		while kill -0 "$pid" 2>/dev/null; do
			tries=$((tries + 1))
			[ "$tries" -le 150 ] || kill -9 "$pid" 2>/dev/null || true
			sleep 0.1
		done
	fi
	rm -rf "$run"
}

case ${1:-} in
start) start ;;
stop) stop ;;
run)
	shift
	[ $# -gt 0 ] || die 2 "usage: kafka.sh run CMD..."
	run=${KAFKA_RUN_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/levada-kafka.XXXXXX")/k}
	trap 'stop; rmdir "$(dirname "$run")" 2>/dev/null || true' EXIT
	trap 'exit 130' INT TERM
	LEVADA_KAFKA=$(start)
	LEVADA_KAFKA_PID=$(cat "$run/pid")
	LEVADA_KAFKA_DATA=$run/data
	export LEVADA_KAFKA LEVADA_KAFKA_PID LEVADA_KAFKA_DATA
	code=0
	"$@" || code=$?
	exit "$code"
	;;
*) die 2 "usage: kafka.sh start | stop | run CMD..." ;;
esac
