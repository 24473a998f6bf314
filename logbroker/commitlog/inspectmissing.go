package commitlog

import "fmt"

// missing looks for files that are gone, though others say that they were there. A
// broker makes them again, so that nothing tells of damage meanwhile.
func (in *inspection) missing() {
	if _, err := in.FS.Stat(in.dir.join(checkpointFile)); err == nil {
		// The mark is older than any checkpoint, and is looked for after it.
		if _, err := in.FS.Stat(in.dir.join(markFile)); isNotExist(err) {
			in.derived(markFile, "it is not there, and every log with a checkpoint has one")
		}
	}
	in.seals()
}

// seals looks for segments without a seal that had one. They are sealed in order, and
// compaction seals what it writes.
func (in *inspection) seals() {
	bases, err := in.list()
	if err != nil {
		return // it was there a moment ago
	}
	later := int64(-1) // a segment that was sealed after all before it
	for i := len(bases) - 1; i >= 0; i-- {
		base := bases[i]
		s, ok, err := in.dir.readSeal(base)
		switch {
		case err != nil:
		case ok && s.compactedTo < 0 && later < 0:
			later = base
		case ok:
		case in.compacted[base] && in.isUnsealed(base):
			in.derived(sealName(base), "it is not there, and the checkpoint knows that the segment was compacted")
		case later >= 0 && in.isUnsealed(base):
			in.derived(sealName(base), fmt.Sprintf("it is not there, and segment %d, which was sealed later, has one", later))
		}
	}
}

// isUnsealed tells whether a segment is there without a seal: one that is deleted goes
// before its seal does, and one that is begun may have been sealed meanwhile.
func (in *inspection) isUnsealed(base int64) bool {
	_, sealErr := in.FS.Stat(in.dir.join(sealName(base)))
	_, err := in.FS.Stat(in.dir.join(logName(base)))
	return isNotExist(sealErr) && err == nil
}
