// Package sqlite is the built-in sink "sqlite": it writes records whose values
// are JSON objects into one table of a SQLite database, exactly once.
//
// In mode upsert a record replaces the row with its primary key and a
// tombstone deletes it; in mode insert every record is a row. The table is
// created, and columns are added as fields appear, unless the configuration
// says otherwise. A record that does not fit (no object, no key, a text for a
// number, a violated constraint) is rejected with the reason.
//
// Rows and positions are written in one transaction. The positions are in the
// table _levada_positions:
//
//	connector    the name of the instance that owns the row
//	topic, part  the partition
//	next_offset  the next offset to write; -1: none was written yet
//	epoch        the newest fencing token seen; an older one is refused
//
// The package leaves out reading, and deletes by a condition.
package sqlite
