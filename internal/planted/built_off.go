//go:build !planted

package planted

// Built tells that the program was built with -tags planted.
const Built = false
