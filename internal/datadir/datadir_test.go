package datadir

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestOpenRefusesASecondHolder(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(vfs.Default, dir, "test, version 1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(vfs.Default, dir, "test, version 1"); err == nil || !strings.Contains(err.Error(), "in use by process ") {
		t.Errorf("second Open: %v, want the pid of the holder", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err = Open(vfs.Default, dir, "test, version 1")
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

func TestOpenRefusesAnotherFormat(t *testing.T) {
	fs := vfs.NewMem()
	d, err := Open(fs, "d", "test, version 2")
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := Open(fs, "d", "test, version 1"); err == nil || !strings.Contains(err.Error(), `"test, version 2"`) {
		t.Errorf("Open with another version: %v", err)
	}
}

func TestReplaceSurvivesACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	d, err := Open(fs, "d", "test, version 1")
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"old", "new"} {
		if err := d.Replace("mark", content); err != nil {
			t.Fatal(err)
		}
	}
	crashed, err := Open(fs.CrashClone(vfs.CrashCloneCfg{}), "d", "test, version 1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := crashed.Read("mark"); got != "new" {
		t.Errorf("after a crash: %q, %v", got, err)
	}
}
