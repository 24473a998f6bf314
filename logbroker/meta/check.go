package meta

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/datadir"
)

// ErrInUse is returned by Check for a database that a broker has open.
var ErrInUse = errors.New("it is in use by a broker")

// Contents is what a database names, as Check has read it.
type Contents struct {
	Rows      int
	System    map[string][]byte
	Topics    []Topic
	Deleted   []Topic // whose directories may still be there
	LogStarts map[Partition]int64
}

// Check reads every row of a database that no broker has open, and returns what it
// names. It changes nothing and leaves no file. Every row that cannot be read is an
// error of its own in what it returns, as is every *DamageError.
func Check(fs vfs.FS, dir string) (c Contents, err error) {
	// Damage is returned by what finds it, and ends no Open.
	quiet := &logger{store: &Store{opening: opening{over: true}}, log: slog.New(slog.DiscardHandler)}
	db, err := pebble.Open(dir, &pebble.Options{FS: lookingFS{fs}, ReadOnly: true, Logger: quiet, FormatMajorVersion: pebble.FormatNewest})
	switch {
	case errors.Is(err, ErrInUse):
		return c, fmt.Errorf("meta: %s: %w", dir, ErrInUse)
	case err != nil:
		return c, errors.Join(checkTails(lookingFS{fs}, dir), fmt.Errorf("meta: open %s: %w", dir, err))
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := checkTails(lookingFS{fs}, dir); err != nil {
		return c, err
	}
	it, err := db.NewIter(nil)
	if err != nil {
		return c, fmt.Errorf("meta: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	c.System, c.LogStarts = map[string][]byte{}, map[Partition]int64{}
	var faults []error
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err == nil {
			err = c.row(it.Key(), value)
		}
		if err != nil && len(faults) < maxFaults {
			faults = append(faults, fmt.Errorf("meta: row %q: %w", it.Key(), err))
		}
		c.Rows++
	}
	return c, errors.Join(append(faults, it.Error())...)
}

// lookingFS makes no lock file where there is none: a database without one is open
// nowhere, and whoever only looks at a backup leaves nothing in it. That another has
// the lock is ErrInUse.
type lookingFS struct{ vfs.FS }

type noLock struct{}

func (noLock) Close() error { return nil }

func (f lookingFS) Lock(name string) (io.Closer, error) {
	if _, err := f.Stat(name); errors.Is(err, os.ErrNotExist) {
		return noLock{}, nil
	}
	lock, err := f.FS.Lock(name)
	if errors.Is(err, syscall.EROFS) {
		return noLock{}, nil // no broker runs over it
	}
	if err != nil && datadir.IsHeld(err) {
		return nil, fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return lock, err
}

// maxFaults bounds how many rows are named.
const maxFaults = 100

// row reads one row, and keeps it where it says what the files should be.
func (c *Contents) row(key, value []byte) error {
	rest := key[1:]
	var err error
	switch key[0] {
	case kindGroup, kindSetting:
	case kindSystem:
		c.System[string(rest)] = slices.Clone(value)
	case kindTopic:
		err = keepDecoded(&c.Topics)(decodeTopic(string(rest), value))
	case kindDeleted:
		err = keepDecoded(&c.Deleted)(decodeDeleted(value))
	case kindLogStart:
		var p Partition
		var start int64
		if p, start, err = decodeLogStart(rest, value); err == nil {
			c.LogStarts[p] = start
		}
	case kindTxn:
		_, err = decodeTxn(string(rest), value)
	case kindDecision:
		_, err = decodeDecision(Decision{}, value)
	case kindOffset:
		err = checkOffset(rest, value)
	case kindPending:
		if len(rest) < 8 {
			return errKey
		}
		err = checkOffset(rest[8:], value)
	default:
		err = fmt.Errorf("there are no rows of kind %q", key[0])
	}
	return err
}

// keepDecoded appends a topic that could be read.
func keepDecoded(to *[]Topic) func(Topic, error) error {
	return func(t Topic, err error) error {
		if err == nil {
			*to = append(*to, t)
		}
		return err
	}
}

func checkOffset(key, value []byte) error {
	_, topic, partition, err := splitOffsetKey(key)
	if err != nil {
		return err
	}
	_, err = decodeOffset(topic, partition, value)
	return err
}
