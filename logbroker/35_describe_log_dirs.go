package logbroker

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleDescribeLogDirs answers DescribeLogDirs, versions 1 to 5: the size of
// partitions, and from version 4 that of the disk (KIP-827). Topics that are
// null are all.
func (b *Broker) handleDescribeLogDirs(r *request) {
	req := r.msg.(*kmsg.DescribeLogDirsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir, dir.TotalBytes, dir.UsableBytes = b.cfg.Dir, -1, -1
	if usage, err := b.cfg.FS.GetDiskUsage(b.cfg.Dir); err == nil {
		dir.TotalBytes, dir.UsableBytes = int64(usage.TotalBytes), int64(usage.AvailBytes)
	}
	asked := map[string]map[int32]bool{}
	for _, t := range req.Topics {
		if asked[t.Topic] == nil {
			asked[t.Topic] = map[int32]bool{}
		}
		for _, n := range t.Partitions {
			asked[t.Topic][n] = true
		}
	}
	for _, t := range b.topics.sorted() {
		rt := kmsg.NewDescribeLogDirsResponseDirTopic()
		rt.Topic = t.name
		for _, p := range t.parts() {
			if p.log == nil || req.Topics != nil && !asked[t.name][p.index] {
				continue
			}
			rp := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			rp.Partition, rp.Size = p.index, p.log.SizeBytes()
			rt.Partitions = append(rt.Partitions, rp)
		}
		if len(rt.Partitions) > 0 {
			dir.Topics = append(dir.Topics, rt)
		}
	}
	resp.Dirs = append(resp.Dirs, dir)
	r.respond(resp)
}
