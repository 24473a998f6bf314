package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/levada/levada/connectors/sdk"
)

// positionsTable holds the positions of every sink that writes to the
// database; doc.go describes it.
const positionsTable = "_levada_positions"

const createPositions = `CREATE TABLE IF NOT EXISTS _levada_positions (
	connector TEXT NOT NULL, topic TEXT NOT NULL, part INTEGER NOT NULL,
	next_offset INTEGER NOT NULL, epoch INTEGER NOT NULL,
	PRIMARY KEY (connector, topic, part)) WITHOUT ROWID`

// claim makes this instance's epoch the newest one for its partitions and
// reads their positions. An instance with an older epoch can write no more.
func (s *sink) claim(ctx context.Context, tx *sql.Tx, partitions []sdk.TopicPartition) ([]sdk.Position, error) {
	if _, err := tx.ExecContext(ctx, createPositions); err != nil {
		return nil, err
	}
	var positions []sdk.Position
	for _, tp := range partitions {
		next, err := s.checkEpoch(ctx, tx, tp)
		if err != nil {
			return nil, err
		}
		if err := s.put(ctx, tx, sdk.Position{TopicPartition: tp, NextOffset: next}); err != nil {
			return nil, err
		}
		if next >= 0 {
			positions = append(positions, sdk.Position{TopicPartition: tp, NextOffset: next})
		}
	}
	return positions, nil
}

// advance moves the positions of a delivery.
func (s *sink) advance(ctx context.Context, tx *sql.Tx, positions []sdk.Position) error {
	for _, p := range positions {
		next, err := s.checkEpoch(ctx, tx, p.TopicPartition)
		if err != nil {
			return err
		}
		if p.NextOffset < next {
			return sdk.Permanent(fmt.Errorf("%s/%d: the position would go back from %d to %d", p.Topic, p.Partition, next, p.NextOffset), "report this as a fault of the host")
		}
		if err := s.put(ctx, tx, p); err != nil {
			return err
		}
	}
	return nil
}

// checkEpoch returns the stored position of a partition, -1 if there is none,
// and ErrFenced if a newer instance has claimed it.
func (s *sink) checkEpoch(ctx context.Context, tx *sql.Tx, tp sdk.TopicPartition) (next int64, err error) {
	var epoch int64
	row := tx.QueryRowContext(ctx, "SELECT next_offset, epoch FROM _levada_positions WHERE connector = ? AND topic = ? AND part = ?", s.connector, tp.Topic, tp.Partition)
	switch err := row.Scan(&next, &epoch); {
	case errors.Is(err, sql.ErrNoRows):
		return -1, nil
	case err != nil:
		return 0, err
	case epoch > s.epoch:
		return 0, fmt.Errorf("%s: %s/%d was claimed with epoch %d, this instance has %d: %w", s.config.Path, tp.Topic, tp.Partition, epoch, s.epoch, sdk.ErrFenced)
	}
	return next, nil
}

func (s *sink) put(ctx context.Context, tx *sql.Tx, p sdk.Position) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO _levada_positions (connector, topic, part, next_offset, epoch) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (connector, topic, part) DO UPDATE SET next_offset = excluded.next_offset, epoch = excluded.epoch`,
		s.connector, p.Topic, p.Partition, p.NextOffset, s.epoch)
	return err
}
