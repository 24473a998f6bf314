// Package file is the built-in source "file": it reads the lines of one file,
// and goes on reading while the file grows.
//
// A position is the byte offset of a line together with the identity of the
// file: device, inode, and hashes of the bytes at its start and before the
// offset. So a restart finds the file again after it was renamed, notices that
// it was truncated or rewritten, and resumes at exactly the next line.
//
// A line is a record once its newline is there. A line that is not JSON, has
// no key, or is too long goes out as an error record with the reason; the rest
// goes on. The package leaves out globs, compressed files and other encodings
// than UTF-8.
package file
