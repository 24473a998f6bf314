package logbroker

import (
	"math"
	"strconv"
	"time"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker/commitlog"
)

// policy is what the configs of a topic say, read once when they are set.
type policy struct {
	maxMessageBytes int
	segmentBytes    int64
	segmentAge      time.Duration
	expires         bool // cleanup.policy has delete
	retention       commitlog.Retention
	compacted       bool // cleanup.policy has compact
	appendTime      bool // message.timestamp.type is LogAppendTime
	// beforeMs and afterMs bound how far timestamps may be from the clock.
	beforeMs, afterMs int64
	recodes           bool // compression.type is not the producer's
	codec             recordbatch.Codec
	level             int // of the codec; 0 is its default
	compaction        commitlog.Compaction
	// flushEach is flush.messages=1: whatever the broker's FsyncPolicy, what is
	// acknowledged is on disk. flushAge is how long anything may not be.
	flushEach bool
	flushAge  time.Duration
}

// codecs are the values of compression.type that are not "producer".
var codecs = map[string]recordbatch.Codec{
	"uncompressed": recordbatch.CodecNone, "gzip": recordbatch.CodecGzip, "snappy": recordbatch.CodecSnappy,
	"lz4": recordbatch.CodecLZ4, "zstd": recordbatch.CodecZstd,
}

// setConfigs puts configs, which were checked, in force.
func (t *topic) setConfigs(b *Broker, configs map[string]string) {
	p := b.policyOf(configs)
	t.configs.Store(&configs)
	t.policy.Store(p)
	for _, part := range t.parts() {
		if part.log != nil {
			part.log.SetSegmentLimits(p.segmentBytes, p.segmentAge)
		}
	}
}

func (b *Broker) policyOf(configs map[string]string) *policy {
	values := map[string]string{}
	for _, c := range b.describeConfigs(configs) {
		values[c.name] = c.value
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(values[name], 10, 64) // was checked
		return n
	}
	period := func(name string) time.Duration {
		const most = math.MaxInt64 / int64(time.Millisecond)
		return time.Duration(min(max(number(name), -most), most)) * time.Millisecond
	}
	share, _ := strconv.ParseFloat(values["min.cleanable.dirty.ratio"], 64) // was checked
	p := &policy{
		maxMessageBytes: int(number("max.message.bytes")),
		segmentBytes:    number("segment.bytes"),
		segmentAge:      period("segment.ms"),
		retention:       commitlog.Retention{Age: period("retention.ms"), Bytes: number("retention.bytes")},
		compaction: commitlog.Compaction{
			MinDirtyRatio: share, MinLag: period("min.compaction.lag.ms"), MaxLag: period("max.compaction.lag.ms"),
			DeleteRetention: period("delete.retention.ms"),
		},
	}
	if values[internalSegmentBytes] != "" {
		p.segmentBytes = number(internalSegmentBytes)
	}
	p.appendTime = values["message.timestamp.type"] == "LogAppendTime"
	p.beforeMs, p.afterMs = number("message.timestamp.before.max.ms"), number("message.timestamp.after.max.ms")
	p.codec, p.recodes = codecs[values["compression.type"]]
	p.flushEach, p.flushAge = number("flush.messages") == 1, max(period("flush.ms"), 0) // the broker's may be less
	p.level = int(number("compression." + values["compression.type"] + ".level"))       // not every codec has some
	for _, word := range listWords(values["cleanup.policy"]) {
		p.expires = p.expires || word == "delete"
		p.compacted = p.compacted || word == "compact"
	}
	if number("max.compaction.lag.ms") == math.MaxInt64 {
		p.compaction.MaxLag = 0
	} else if p.compacted {
		// What waits to be compacted must not wait in the active segment.
		p.segmentAge = min(p.segmentAge, p.compaction.MaxLag)
	}
	return p
}
