package logbroker

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/levada/levada/internal/powerloss"
)

// TestMountedAgainIsAnotherLife takes the disk away and gives it back: what was in
// the page cache is gone, though the kernel runs on.
func TestMountedAgainIsAnotherLife(t *testing.T) {
	if err := powerloss.Available(); err != nil {
		t.Skipf("needs to mount a file system: %v", err)
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, "/", 0, unix.STATX_MNT_ID_UNIQUE, &st); err != nil || st.Mask&unix.STATX_MNT_ID_UNIQUE == 0 {
		t.Skip("this kernel gives ids of mounts again: Linux 6.8 is the first that does not")
	}
	disk, err := powerloss.Mount(t.TempDir(), 32<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	seen := map[string]bool{}
	for range 4 {
		id := bootID(disk.Path())
		if again := bootID(disk.Path()); again != id {
			t.Fatalf("asked twice of one mount: %s and %s", id, again)
		}
		if seen[id] {
			t.Fatalf("%s is the id of two mounts", id)
		}
		seen[id] = true
		if err := disk.Remount(); err != nil {
			t.Fatal(err)
		}
	}
}
