package powerloss

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is a file system in a file. Its methods may be called by any goroutine.
type Disk struct {
	image string
	path  string

	mu      sync.Mutex // guards what follows
	mounted bool
}

// Available tells why no power loss can be made here; nil if it can.
func Available() error {
	if os.Geteuid() != 0 {
		return errors.New("mounting a file system needs root")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return fmt.Errorf("making a file system: %w", err)
	}
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("loop devices: %w", err)
	}
	return control.Close()
}

// Mount makes an ext4 file system of a size in a file under dir, and mounts it
// there too. Who calls it sees to it that Close is called.
func Mount(dir string, sizeBytes int64) (*Disk, error) {
	if err := Available(); err != nil {
		return nil, fmt.Errorf("powerloss: %w", err)
	}
	unmountAbandoned()
	path, err := os.MkdirTemp(dir, mountPrefix())
	if err != nil {
		return nil, fmt.Errorf("powerloss: %w", err)
	}
	d := &Disk{image: path + ".ext4", path: path}
	if err := d.format(sizeBytes); err != nil {
		return nil, errors.Join(err, d.remove())
	}
	if err := d.mount(); err != nil {
		return nil, errors.Join(err, d.remove())
	}
	return d, nil
}

// Path is where the file system is mounted.
func (d *Disk) Path() string { return d.path }

// shutdown cuts an ext4 file system, or another that knows the call, off from its
// disk: EXT4_IOC_SHUTDOWN. withoutFlush leaves the journal as the disk has it.
const (
	shutdown     = 0x8004587d
	withoutFlush = 2
)

// Cut loses all that was not synced. From then on every write fails with EIO.
func (d *Disk) Cut() error {
	root, err := os.Open(d.path)
	if err != nil {
		return fmt.Errorf("powerloss: %w", err)
	}
	defer root.Close()
	if err := unix.IoctlSetPointerInt(int(root.Fd()), shutdown, withoutFlush); err != nil {
		return fmt.Errorf("powerloss: cut %s: %w", d.path, err)
	}
	return nil
}

// Remount gives the file system its disk back, as it is: the journal is replayed.
// Every process that has files open on it must have ended.
func (d *Disk) Remount() error {
	if err := d.unmount(0); err != nil {
		return err
	}
	return d.mount()
}

// Close unmounts the file system, even while files are open on it, and removes
// it. More than one call does no harm.
func (d *Disk) Close() error {
	if err := d.unmount(unix.MNT_DETACH); err != nil {
		return err
	}
	return d.remove()
}

func (d *Disk) format(sizeBytes int64) error {
	f, err := os.Create(d.image)
	if err != nil {
		return fmt.Errorf("powerloss: %w", err)
	}
	if err := errors.Join(f.Truncate(sizeBytes), f.Close()); err != nil {
		return fmt.Errorf("powerloss: %w", err)
	}
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", d.image).CombinedOutput()
	if err != nil {
		return fmt.Errorf("powerloss: mkfs.ext4 %s: %w: %s", d.image, err, out)
	}
	return nil
}

// mount takes another loop device each time: the kernel would serve what it has
// in memory of the last one.
func (d *Disk) mount() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	device, err := attach(d.image)
	if err != nil {
		return fmt.Errorf("powerloss: %w", err)
	}
	defer device.Close()
	if err := unix.Mount(device.Name(), d.path, "ext4", unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("powerloss: mount %s on %s: %w", device.Name(), d.path, err)
	}
	d.mounted = true
	return nil
}

func (d *Disk) unmount(flags int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.mounted {
		return nil
	}
	for deadline := time.Now().Add(busyFor); ; {
		err := unix.Unmount(d.path, flags)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("powerloss: unmount %s: %w", d.path, err)
		}
		<-time.After(time.Millisecond)
	}
	d.mounted = false
	return nil
}

// busyFor bounds how long a file system may be busy with files that were closed: a
// process that is being begun by this one has those that were open for a moment more.
const busyFor = 250 * time.Millisecond

func (d *Disk) remove() error {
	err := errors.Join(os.RemoveAll(d.image), os.Remove(d.path))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

const loopControl = "/dev/loop-control"

// attach gives a file a loop device of its own, which lets go of the file when
// nothing has it open or mounted.
func attach(image string) (*os.File, error) {
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("a free loop device: %w", err)
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			return device, nil
		}
		device.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("%s: %w", device.Name(), err)
		}
		// Somebody else was given the same one.
	}
	return nil, errors.New("every loop device was taken by somebody else")
}

// mountPrefix begins the names of the mount points of this process.
func mountPrefix() string { return fmt.Sprintf("powerloss-%d-", os.Getpid()) }

// unmountAbandoned unmounts what processes have left that are no more.
func unmountAbandoned() {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return // it is a courtesy
	}
	for _, path := range abandoned(string(mounts), alive) {
		if unix.Unmount(path, unix.MNT_DETACH) == nil {
			_ = (&Disk{image: path + ".ext4", path: filepath.Clean(path)}).remove()
		}
	}
}
