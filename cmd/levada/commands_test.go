package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// kafkaAddress is that of an Apache Kafka; without one the test is skipped.
func kafkaAddress(t *testing.T, authorizes bool) string {
	t.Helper()
	address := os.Getenv("LEVADA_KAFKA")
	if address == "" {
		t.Skip("LEVADA_KAFKA is not set: bench/kafka.sh run go test -run ApacheKafka ./cmd/levada")
	}
	if is := os.Getenv("LEVADA_KAFKA_AUTHORIZES") != ""; is != authorizes {
		t.Skip("make kafka starts a broker with an authorizer, which LEVADA_KAFKA_AUTHORIZES says, and one without")
	}
	return address
}

// TestCommands runs the commands of testdata/commands on Levada: each block is the
// arguments of one, with what it reads below.
func TestCommands(t *testing.T) {
	address := startServer(t, t.TempDir(), "127.0.0.1:0").address
	for _, file := range []string{"topics", "groups", "others", "norules"} {
		t.Run(file, func(t *testing.T) { runCommands(t, "testdata/commands/"+file, address, false) })
	}
}

// TestCommandsOfApacheKafka: they do the same on Apache Kafka, and say the same.
func TestCommandsOfApacheKafka(t *testing.T) {
	address := kafkaAddress(t, false)
	for _, file := range []string{"topics", "groups", "others", "norules"} {
		t.Run(file, func(t *testing.T) { runCommands(t, "testdata/commands/"+file, address, true) })
	}
}

// TestCommandsForRights: and those about access rules.
func TestCommandsForRights(t *testing.T) {
	t.Setenv("LEVADA_USER", "admin")
	t.Setenv("LEVADA_PASS", "adminpass")
	args := securedServer(t)("admin", "adminpass")
	runCommands(t, "testdata/commands/rules", args[slices.Index(args, "-b")+1], false)
}

func TestCommandsForRightsOfApacheKafka(t *testing.T) {
	runCommands(t, "testdata/commands/rules", kafkaAddress(t, true), true)
}

// runCommands runs the commands of a file; $ stands for what only this run names so.
// What another broker was told is seen late: what only looks there is asked until it is.
func runCommands(t *testing.T, file, address string, late bool) {
	prefix := fmt.Sprintf("c%d-", time.Now().UnixNano())
	datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
		line, stdin, _ := strings.Cut(d.Input, "\n")
		args := strings.Fields(strings.ReplaceAll(line, "$", prefix))
		if !slices.Contains(args, "-o") && args[1] != "consume" {
			args = append(args, "-o", "table")
		}
		looks := slices.Contains([]string{"list", "describe", "config", "info", "producers"}, args[1])
		for deadline := time.Now().Add(10 * time.Second); ; {
			out := levada(t, stdin, append(args, "-b", address)...)
			told := stable(args, strings.ReplaceAll(out.stdout, prefix, "$")) + strings.ReplaceAll(out.stderr, prefix, "$")
			if late {
				told = resetAndMade.ReplaceAllString(told, "")
			}
			if out.code != exitDone {
				told += fmt.Sprintf("exit %d\n", out.code)
			}
			if told == d.Expected || !late || !looks || time.Now().After(deadline) {
				return told
			}
		}
	})
}

// resetAndMade is said of connections that Apache Kafka reset, or did not take in time, which it does
// now and then where it has little of the processors, and that are made again.
var resetAndMade = regexp.MustCompile(`(?m)^levada: (the broker at \S+ cannot be reached, and is tried on: .*(connection reset by peer|i/o timeout)|connected to the broker at \S+ again)\n`)

// unstable is what the same command prints otherwise on another cluster.
var unstable = []struct {
	command string
	found   *regexp.Regexp
	printed string
}{
	{"", regexp.MustCompile(` {2,}`), "  "}, // as wide as what is longest in the column
	{"describe", regexp.MustCompile(`  id [\w-]{22}`), "  id ID"},
	{"describe", regexp.MustCompile(`(?m)^(\d+)  \d+  \d+  (\d+  \d+  \d+)$`), "$1  LEADER  EPOCH  $2"},
	{"describe", regexp.MustCompile(`(?m)^.*  (DEFAULT|STATIC|DYNAMIC_DEFAULT)\w*_CONFIG\n`), ""},
	{"config", regexp.MustCompile(`(?m)^.*  (DEFAULT|STATIC)\w*_CONFIG\n`), ""},
	{"config", regexp.MustCompile(`(?m)^.*  min\.insync\.replicas  .*\n`), ""}, // which a controller sets
	{"config", regexp.MustCompile(`(?m)^\d+  `), "BROKER  "},
	{"info", regexp.MustCompile(`BROKER OF \S+`), "BROKER OF CLUSTER"},
	{"info", regexp.MustCompile(`(?m)^\d+  127\.0\.0\.1:\d+  true  \d+$`), "BROKER  ADDRESS  true  LED"},
	{"producers", regexp.MustCompile(`(?m)^(\d+)  \d+  \d+  `), "$1  PRODUCER  EPOCH  "},
	{"list", regexp.MustCompile(`(?m)^[^$\n]*\n`), ""}, // what others have there
}

// stable is what a command printed without that.
func stable(args []string, out string) string {
	for _, u := range unstable {
		if u.command == "" && args[1] != "consume" || u.command == args[1] {
			out = u.found.ReplaceAllString(out, u.printed)
		}
	}
	return out
}
