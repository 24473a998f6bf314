package runtime

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/levada/levada/runtime/logclient"
)

// The metadata of a committed offset carries what the next owner of the task
// must know: the stream time, and who committed, so that a lost owner's open
// transaction can be fenced. Form: "levada/1 <stream time, ms> <transactional id>".
const metadataVersion = "levada/1"

type offsetMetadata struct {
	streamTime      int64
	transactionalID string
}

func (m offsetMetadata) encode() string {
	return metadataVersion + " " + strconv.FormatInt(m.streamTime, 10) + " " + m.transactionalID
}

// decodeMetadata reads the metadata of a position. Metadata of another writer
// (an offset reset by a tool) tells nothing: stream time -1, no owner.
func decodeMetadata(p logclient.Position) (offsetMetadata, error) {
	unknown := offsetMetadata{streamTime: -1}
	version, rest, _ := strings.Cut(p.Metadata, " ")
	if version != metadataVersion {
		return unknown, nil
	}
	ms, owner, _ := strings.Cut(rest, " ")
	t, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return unknown, fmt.Errorf("metadata of the offset of %s-%d: stream time %q: %w", p.Topic, p.Partition, ms, err)
	}
	return offsetMetadata{streamTime: t, transactionalID: owner}, nil
}
