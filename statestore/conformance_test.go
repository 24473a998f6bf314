package statestore_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/statestore"
	"github.com/levada/levada/statestore/storetest"
)

// onDisk is an engine on a file system that can lose power, with budgets so
// small that everything is evicted and flushed all the time, or large.
func onDisk(tableBytes, flushBytes int64) func(t *testing.T) storetest.Env {
	return func(*testing.T) storetest.Env {
		fs, now := vfs.NewCrashableMem(), time.UnixMilli(1e12)
		return storetest.Env{
			Open: func(t *testing.T) *statestore.Engine {
				t.Helper()
				e, err := statestore.Open(statestore.Config{
					Dir: "state", FS: fs, Now: func() time.Time { return now }, Synchronous: true,
					TableBytes: tableBytes, FlushBytes: flushBytes, FlushInterval: time.Minute,
				})
				if err != nil {
					t.Fatal(err)
				}
				return e
			},
			LosePower: func(rng *rand.Rand) {
				fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			},
			Pass: func(d time.Duration) { now = now.Add(d) },
		}
	}
}

func TestSmallBudgets(t *testing.T) { storetest.Run(t, onDisk(1<<10, 2<<10)) }

func TestLargeBudgets(t *testing.T) { storetest.Run(t, onDisk(0, 0)) }

func TestInMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Env {
		return storetest.Env{
			Open: func(t *testing.T) *statestore.Engine {
				t.Helper()
				e, err := statestore.OpenMemory()
				if err != nil {
					t.Fatal(err)
				}
				return e
			},
			Pass: func(time.Duration) {},
		}
	})
}
