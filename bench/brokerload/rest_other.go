//go:build !linux

package brokerload

import "time"

// rest lets some time pass.
func rest(d time.Duration) { time.Sleep(d) }
