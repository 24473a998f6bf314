package meta

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrInUse is returned by Check for a database that a broker has open.
var ErrInUse = errors.New("it is in use by a broker")

// Check reads every row of a database that no broker has open, and returns how many
// there are. It changes nothing. Every row that cannot be read is an error of its
// own in what it returns.
func Check(fs vfs.FS, dir string) (rows int, err error) {
	quiet := &logger{store: &Store{}, log: slog.New(slog.DiscardHandler)}
	db, err := pebble.Open(dir, &pebble.Options{FS: fs, ReadOnly: true, Logger: quiet, FormatMajorVersion: pebble.FormatNewest})
	switch {
	case errors.Is(err, syscall.EAGAIN), err != nil && strings.Contains(err.Error(), "lock"):
		return 0, fmt.Errorf("meta: %s: %w", dir, ErrInUse)
	case err != nil:
		return 0, fmt.Errorf("meta: open %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	it, err := db.NewIter(nil)
	if err != nil {
		return 0, fmt.Errorf("meta: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var faults []error
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err == nil {
			err = checkRow(it.Key(), value)
		}
		if err != nil && len(faults) < maxFaults {
			faults = append(faults, fmt.Errorf("meta: row %q: %w", it.Key(), err))
		}
		rows++
	}
	return rows, errors.Join(append(faults, it.Error())...)
}

// maxFaults bounds how many rows are named.
const maxFaults = 100

func checkRow(key, value []byte) error {
	rest := key[1:]
	var err error
	switch key[0] {
	case kindSystem, kindDeleted, kindLogStart, kindGroup, kindSetting:
	case kindTopic:
		_, err = decodeTopic(string(rest), value)
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

func checkOffset(key, value []byte) error {
	_, topic, partition, err := splitOffsetKey(key)
	if err != nil {
		return err
	}
	_, err = decodeOffset(topic, partition, value)
	return err
}
