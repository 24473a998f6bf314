package group

import (
	"errors"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// TestRowsWithoutEpochs: what a member of a row of an older program has, it has since
// the epoch that it was at.
func TestRowsWithoutEpochs(t *testing.T) {
	now := time.Unix(1000, 0)
	topics := &topicList{version: 1}
	topics.set("t1", 1)
	g := NewConsumer("g", Config{}, testTimes)
	beat := func(epoch int32) HeartbeatAnswer {
		t.Helper()
		a, err := g.Heartbeat(now, Heartbeat{MemberID: "a", Epoch: epoch, Rebalance: time.Minute, OwnedGiven: epoch == JoinEpoch, Topics: []string{"t1"}}, topics)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := beat(JoinEpoch)
	topics.set("t1", 2)
	second := beat(first.Epoch)
	row, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	old := regexp.MustCompile(`,"since":\[[0-9,]*\]`).ReplaceAll(row, nil)
	if len(old) == len(row) {
		t.Fatalf("the row has no epochs: %s", row)
	}
	if g, err = DecodeConsumer("g", old, Config{}, now, testTimes); err != nil {
		t.Fatal(err)
	}
	topics.set("t1", 3)
	third := beat(second.Epoch)
	if len(second.Assignment) != 2 || len(third.Assignment) != 3 {
		t.Fatalf("assigned %v, then %v", second.Assignment, third.Assignment)
	}
	for _, p := range second.Assignment {
		of := slices.Values([]Partition{p})
		if err := g.CheckCommit("a", NoInstance, second.Epoch, false, of); err != nil {
			t.Errorf("%v in the epoch of the row: %v", p, err)
		}
		if err := g.CheckCommit("a", NoInstance, first.Epoch, false, of); !errors.Is(err, kerr.StaleMemberEpoch) {
			t.Errorf("%v in the epoch before: %v", p, err)
		}
	}
}
