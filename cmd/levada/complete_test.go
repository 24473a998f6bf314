package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestCompletionIsLive: the names of groups and profiles are offered as they are at that
// moment, and none where no broker answers.
func TestCompletionIsLive(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	t.Setenv("LEVADA_PROFILES", filepath.Join(t.TempDir(), "profiles.json"))
	at := " -b " + s.address
	const groups, profiles = "billing\nshipping\n", "away\nhere\n"
	offers := func(want, line string) {
		t.Helper()
		args := append([]string{"__complete"}, strings.Fields(line)...)
		if out := mustLevada(t, "", append(args, "")...); out != want+":4\n" { // which is: and no files
			t.Errorf("%s: offered\n%swant\n%s", line, out, want)
		}
	}
	ofGroups := []string{"group describe" + at, "group delete" + at, "group seek" + at, "topic consume orders" + at + " -g", "acl create" + at + " --group", "acl delete" + at + " --group"}
	ofProfiles := []string{"profile use", "profile delete", "topic list --profile", "group describe --profile"}
	each := func(lines []string, want string) {
		t.Helper()
		for _, line := range lines {
			offers(want, line)
		}
	}
	each(ofGroups, "")
	each(ofProfiles, "")
	mustLevada(t, "", "topic", "create", "orders", "-b", s.address)
	for _, group := range []string{"shipping", "billing"} {
		mustLevada(t, "", "group", "seek", group, "--to", "start", "--topic", "orders", "-b", s.address)
	}
	mustLevada(t, "", "profile", "set", "here", "-X", "brokers="+s.address)
	mustLevada(t, "", "profile", "set", "away", "-X", "brokers=127.0.0.1:1")
	each(ofGroups, groups)
	each(ofProfiles, profiles)
	offers(groups, "group describe") // of the cluster whose profile is in use
	offers(groups, "group describe --profile here")
	offers("", "group describe --profile away") // where nobody answers
	// What is there already is not offered again, nor what nobody asks for.
	offers("billing\n", "group delete shipping"+at)
	offers("", "group delete shipping billing"+at)
	offers("", "group describe shipping"+at)
	offers("", "topic consume orders"+at)
	offers("", "profile use here")
	mustLevada(t, "", "group", "delete", "shipping", "-b", s.address)
	mustLevada(t, "", "profile", "delete", "away")
	each(ofGroups, "billing\n")
	each(ofProfiles, "here\n")
}
