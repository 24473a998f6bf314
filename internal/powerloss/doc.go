// Package powerloss makes a power loss that is real but for the power: a file
// system in a file, cut off from its disk by the kernel.
//
// What was synced before Cut is there after Remount. What was not is gone as the
// file system's journal has it: the tail of a file, a new file, a rename. Between
// the two, whatever is written fails with EIO. The state of the file system is
// the kernel's own, ext4's; what a disk loses that lies about its cache is left
// out.
//
// A sync that is under way during Cut may be told that it succeeded although the
// journal took nothing of it. So what is acknowledged after Cut was called proves
// nothing, as with a power loss, where nobody would have heard of it.
//
// It needs Linux, root, loop devices and mkfs.ext4; Available says what is
// missing. A disk that its process could not Close, because it was killed, is
// unmounted by the next Mount of any process.
package powerloss
