package logbroker

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxDescribedPartitions bounds the partitions of one answer, as Kafka's
// max.request.partition.size.limit.
const maxDescribedPartitions = 2000

// handleDescribeTopicPartitions answers DescribeTopicPartitions, version 0
// (KIP-966): topics by name, in their order, a page at a time. No topics are
// all. No array in the answer is null, which Java's admin client cannot read.
func (b *Broker) handleDescribeTopicPartitions(r *request) {
	req := r.msg.(*kmsg.DescribeTopicPartitionsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	var names []string
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	all := len(names) == 0
	if all {
		for _, t := range b.topics.sorted() {
			names = append(names, t.name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if slices.Contains(names, "") { // as Kafka, which fails over it
		r.respond(refusedTopics(req, kerr.UnknownServerError))
		return
	}
	first := int32(0)
	if c := req.Cursor; c != nil {
		rest := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.Compare(name, c.Topic) < 0 })
		named := len(rest) > 0 && rest[0] == c.Topic
		if c.Partition < 0 || !all && !named {
			r.respond(refusedTopics(req, kerr.InvalidRequest))
			return
		}
		if names = rest; named {
			first = c.Partition
		}
	}
	left := min(maxDescribedPartitions, max(1, int(req.ResponsePartitionLimit)))
	resp.Topics = []kmsg.DescribeTopicPartitionsResponseTopic{}
	for _, name := range names {
		if left == 0 {
			next := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
			next.Topic, next.Partition = name, 0
			resp.NextCursor = &next
			break
		}
		t, more := b.topicPage(r, name, first, left)
		resp.Topics = append(resp.Topics, t)
		if more {
			next := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
			next.Topic, next.Partition = name, first+int32(left)
			resp.NextCursor = &next
			break
		}
		left -= len(t.Partitions)
		first = 0
	}
	r.respond(resp)
}

// refusedTopics is the answer to a request that cannot be served: each topic that it names
// is refused.
func refusedTopics(req *kmsg.DescribeTopicPartitionsRequest, err *kerr.Error) *kmsg.DescribeTopicPartitionsResponse {
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	resp.Topics = []kmsg.DescribeTopicPartitionsResponseTopic{}
	for _, t := range req.Topics {
		rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
		rt.Topic, rt.Partitions = kmsg.StringPtr(t.Topic), []kmsg.DescribeTopicPartitionsResponseTopicPartition{}
		rt.ErrorCode = err.Code
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// topicPage describes the partitions of a topic from first on, at most limit;
// more tells that some are left.
func (b *Broker) topicPage(r *request, name string, first int32, limit int) (out kmsg.DescribeTopicPartitionsResponseTopic, more bool) {
	out = kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic, out.Partitions = &name, []kmsg.DescribeTopicPartitionsResponseTopicPartition{}
	// Whether or not there is one of the name, as with Kafka.
	out.AuthorizedOperations = who{b, r.conn}.operations(true, kmsg.ACLResourceTypeTopic, name)
	t := b.topics.byName(name)
	if err := checkTopicName(name); err != nil {
		out.ErrorCode = errorCode(err)
		return out, false
	}
	if t == nil {
		out.ErrorCode = kerr.UnknownTopicOrPartition.Code
		return out, false
	}
	md := b.topicMetadata(who{b, r.conn}, t, false)
	out.TopicID = t.id
	rest := md.Partitions[min(int(first), len(md.Partitions)):]
	for _, p := range rest[:min(limit, len(rest))] {
		rp := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		rp.ErrorCode, rp.Partition, rp.LeaderID, rp.LeaderEpoch = p.ErrorCode, p.Partition, p.Leader, p.LeaderEpoch
		rp.Replicas, rp.ISR, rp.OfflineReplicas = p.Replicas, p.ISR, p.OfflineReplicas
		rp.EligibleLeaderReplicas, rp.LastKnownELR = []int32{}, []int32{}
		out.Partitions = append(out.Partitions, rp)
	}
	return out, len(rest) > limit
}
