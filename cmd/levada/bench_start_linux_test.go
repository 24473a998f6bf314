package main

import (
	"encoding/json"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestServesAgainAfterSIGKILL kills a server with 1,000 partitions and 10 GiB, drops the
// page cache, and starts it again: a record is acknowledged within 5 s.
func TestServesAgainAfterSIGKILL(t *testing.T) {
	needsE2E(t)
	dir := t.TempDir()
	const needed = 15 << 30
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		t.Fatal(err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < needed {
		t.Skipf("%s has %d MiB free, and %d are needed: set TMPDIR", dir, free>>20, needed>>20)
	}
	if f, err := os.OpenFile("/proc/sys/vm/drop_caches", os.O_WRONLY, 0); err != nil {
		t.Skipf("the page cache cannot be dropped, which takes root: %v", err)
	} else {
		f.Close()
	}
	out := mustLevada(t, "", "bench", "start", "--kill", "--cold", "--partitions", "1000", "--mib", "10240", "--dir", dir, "--output", "json")
	var r startResult
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Log(out)
	if !r.Killed || !r.Cold || r.FirstAck <= 0 || r.FirstAck > 5000 {
		t.Errorf("the first record was acknowledged after %.0f ms, want 5,000 at most", r.FirstAck)
	}
}
