package host

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// maxClaims bounds how often two instances that start at once outbid each other.
const maxClaims = 10

// claim is the ownership of a connector: a producer that has fenced all
// earlier ones, an epoch above all earlier ones, and what they committed.
//
// A zombie could commit between our reading of its position and our first
// transaction, so the claim itself is a transaction:
//  1. A runs. B makes a writer with the same transactional id.
//  2. B reads the last epoch E and commits a record with epoch E+1. From now on
//     A's commits fail.
//  3. B reads the topic to its end: nothing of A can be added to what it sees.
//     If a C has claimed E+1 as well, both see it, and the later one, which
//     has fenced the other, claims a larger one.
type claim struct {
	config *Config
	writer logclient.Writer
	epoch  int64
	state  stateRecord
}

// ownedState is what the positions topic holds of one connector.
type ownedState struct {
	claims []epochRecord // all that were seen
	newest *stateRecord  // nil: none
}

// epochRecord has the key "epoch/NAME": a claim.
type epochRecord struct {
	Version int    `json:"v"`
	Epoch   int64  `json:"epoch"`
	Nonce   string `json:"nonce"`
}

// stateRecord has the key "state/NAME": where the connector stands. It is
// written in the transaction whose records it speaks of.
type stateRecord struct {
	Version int   `json:"v"`
	Epoch   int64 `json:"epoch"`
	// Position of a source, base64 in JSON; null: at the beginning.
	Position []byte `json:"position"`
	// Rejected lists, by "topic/partition", the offsets that a sink has rejected,
	// whose dead letters are written, and that are not behind its position yet.
	Rejected map[string][]int64 `json:"rejected,omitempty"`
}

const stateVersion = 1

func epochKey(name string) string { return "epoch/" + name }
func stateKey(name string) string { return "state/" + name }

// transactionalID is the producer name of a connector.
func transactionalID(name string) string { return "levada-connect-" + name }

func (c *Config) positionsPartition() logclient.TopicPartition {
	return logclient.TopicPartition{Topic: c.PositionsTopic}
}

// claimConnector takes the connector from any earlier instance.
func claimConnector(ctx context.Context, c *Config) (*claim, error) {
	if err := c.ensureTopic(ctx, c.PositionsTopic, 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
		return nil, err
	}
	w, err := c.Log.NewWriter(logclient.WriterConfig{TransactionalID: transactionalID(c.Name)})
	if err != nil {
		return nil, c.logError("claim", err)
	}
	cl := &claim{config: c, writer: w}
	if err := cl.take(ctx); err != nil {
		_ = w.Close()
		return nil, err
	}
	return cl, nil
}

func (cl *claim) take(ctx context.Context) error {
	nonce := rand.Text()
	state, err := cl.config.readState(ctx)
	if err != nil {
		return err
	}
	for range maxClaims {
		cl.epoch = state.newestEpoch("") + 1
		record := epochRecord{Version: stateVersion, Epoch: cl.epoch, Nonce: nonce}
		if err := cl.put(epochKey(cl.config.Name), record); err != nil {
			return err
		}
		if err := cl.commit(ctx); err != nil {
			return err
		}
		if state, err = cl.config.readState(ctx); err != nil {
			return err
		}
		if state.newestEpoch(nonce) < cl.epoch {
			if state.newest != nil {
				cl.state = *state.newest
			}
			// The state is written again, so that the next start finds it near the end.
			if err := cl.putState(); err != nil {
				return err
			}
			return cl.commit(ctx)
		}
	}
	return cl.config.fail("claim", fmt.Errorf("other instances of this connector keep starting"))
}

// newestEpoch is the largest epoch claimed by anybody but nonce.
func (s *ownedState) newestEpoch(nonce string) int64 {
	newest := int64(0)
	if s.newest != nil {
		newest = s.newest.Epoch
	}
	for _, e := range s.claims {
		if e.Nonce != nonce || nonce == "" {
			newest = max(newest, e.Epoch)
		}
	}
	return newest
}

// put appends a record of the positions topic to the open transaction.
func (cl *claim) put(key string, value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var b recordbatch.Builder
	b.Append(time.Now().UnixMilli(), []byte(key), encoded, nil)
	if err := cl.writer.Append(cl.config.positionsPartition(), b.Batch()); err != nil {
		return cl.config.logError("write", err)
	}
	return nil
}

// putState appends the state to the open transaction.
func (cl *claim) putState() error {
	cl.state.Version, cl.state.Epoch = stateVersion, cl.epoch
	return cl.put(stateKey(cl.config.Name), cl.state)
}

// commit makes the open transaction durable.
func (cl *claim) commit(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cl.config.Limits.Log, errLogSlow)
	defer cancel()
	if _, err := cl.writer.Commit(nil).Wait(ctx); err != nil {
		return cl.config.logError("commit", err)
	}
	return nil
}

// release aborts what is open and closes the writer.
func (cl *claim) release() {
	ctx, cancel := context.WithTimeout(context.Background(), cl.config.Limits.Stop)
	defer cancel()
	_, _ = cl.writer.Abort().Wait(ctx) // the log aborts it by time-out if we cannot
	_ = cl.writer.Close()
}

var errLogSlow = errors.New("the log did not answer in time")

// logError makes an Error of a failure of the log.
func (c *Config) logError(stage string, err error) error {
	if errors.Is(err, logclient.ErrFenced) {
		return c.refuse(stage, "let one of them run", fmt.Errorf("%w (%w)", ErrFenced, err))
	}
	if errors.Is(err, logclient.ErrTooLarge) {
		return c.refuse(stage, "raise max.message.bytes of the topic, or make the record smaller", err)
	}
	if errors.Is(err, logclient.ErrRefused) {
		return c.refuse(stage, "change what the topic's configs say of timestamps and keys, or the records", err)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return c.fail(stage, err)
}
