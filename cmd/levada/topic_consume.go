package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type consumeFlags struct {
	offset          string
	num             int64
	follow          bool
	partitions      []int32
	format, where   string
	group           string
	readUncommitted bool
	note            func(text string) // tells the user
}

func (a *app) topicConsumeCommand(cl *cluster) *cobra.Command {
	f := &consumeFlags{}
	c := &cobra.Command{
		Use: "consume TOPIC", Short: "Print the records of a topic, up to its end", Args: cobra.ExactArgs(1),
		Example:           "  levada topic consume word-counts -f '%k %v\\n' --num 10\n  levada topic consume orders --offset @2026-01-02T15:04:05Z --where 'value.amount > 100'\n  levada topic consume orders --group billing --follow",
		ValidArgsFunction: oneOf(cl.completeTopics),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("num") && f.num < 1 {
				return inputError(fmt.Errorf("--num %d: use at least 1, or leave it out to read up to the end", f.num))
			}
			if err := f.checkGroup(c.Flags()); err != nil {
				return err
			}
			if c.Flags().Changed("output") && a.output == "table" {
				return inputError(errors.New("--output table: records are no table; use --format such as '%k %v\\n', or json"))
			}
			show, err := a.recordPrinter(f.format)
			if err != nil {
				return err
			}
			chosen, err := newWhere(f.where)
			if err != nil {
				return err
			}
			f.note = func(text string) { fmt.Fprintln(c.ErrOrStderr(), "levada:", printableLines(text)) }
			err = cl.consume(c.Context(), args[0], f, chosen, show, c.OutOrStdout())
			if note := chosen.report(); note != "" {
				fmt.Fprintln(c.ErrOrStderr(), "levada:", printableLines(note))
			}
			return err
		},
	}
	c.Flags().StringVar(&f.offset, "offset", "start", "where to begin: start, end, N, -N (before the end) or @TIME (ms, RFC 3339, a date, or -1h or -7d before now)")
	c.Flags().Int64VarP(&f.num, "num", "n", 0, "stop after so many records (default: at the end)")
	c.Flags().BoolVar(&f.follow, "follow", false, "wait for new records")
	c.Flags().Int32SliceVarP(&f.partitions, "partition", "p", nil, "partitions to read (default: all)")
	c.Flags().StringVarP(&f.format, "format", "f", "", `what to print of a record: %k key %v value %t topic %p partition %o offset %d timestamp %h headers %% and \n \t (default: a JSON object per line)`)
	c.Flags().StringVar(&f.where, "where", "", whereHelp)
	c.Flags().StringVarP(&f.group, "group", "g", "", "read as a member of this group: from where it left off (--offset says where it is new), and commit what was printed")
	c.Flags().BoolVar(&f.readUncommitted, "read-uncommitted", false, "also show records of open and aborted transactions")
	_ = c.RegisterFlagCompletionFunc("group", cl.completeGroups)
	return c
}

// checkGroup refuses what a group decides by itself.
func (f *consumeFlags) checkGroup(flags *pflag.FlagSet) error {
	switch {
	case f.group == "" && flags.Changed("group"):
		return inputError(errors.New("--group: the name is empty"))
	case f.group == "":
		return nil
	case len(f.partitions) > 0:
		return inputError(errors.New("--partition and --group: a group decides which of its members reads a partition; leave one of both out"))
	case f.offset != "start" && f.offset != "end":
		return inputError(fmt.Errorf("--offset %s: with --group it is start or end, for partitions where the group has no offset; to move one use: levada group seek %s --to %s", f.offset, f.group, f.offset))
	}
	return nil
}

// consume prints records from the offsets asked for up to the ends as they were
// when it began, or for ever with follow.
func (cl *cluster) consume(ctx context.Context, topic string, f *consumeFlags, chosen *where, show func(*bufio.Writer, *kgo.Record) error, out io.Writer) error {
	admin, err := cl.admin(ctx)
	if err != nil {
		return err
	}
	defer admin.Close()
	off, err := offlineIn(ctx, admin, topic)
	if err != nil {
		return onTopic(topic, "read").explained(err, "")
	}
	from, ends, err := f.bounds(ctx, admin, topic, off)
	if err != nil {
		return err
	}
	leftOut := off.of(f.partitions).explained(topic)
	if leftOut != nil {
		f.note(leftOut.Error())
	}
	r := &recordReader{topic: topic, flags: f, ends: ends, chosen: chosen, show: show, out: bufio.NewWriterSize(out, 64<<10), left: offline{}}
	opts := []kgo.Opt{kgo.KeepControlRecords(), kgo.FetchMaxWait(500 * time.Millisecond), kgo.KeepRetryableFetchErrors()}
	if f.group == "" {
		opts = append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	} else {
		r.group = &membership{group: f.group, topic: topic, from: from, positions: map[int32]int64{}}
		opts = append(opts, r.group.options(f.offset)...)
	}
	if !f.readUncommitted {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	within, end := context.WithCancelCause(ctx)
	defer end(nil)
	watch := &connectionWatch{note: f.note, end: end}
	client, err := cl.client(ctx, append(opts, kgo.WithHooks(watch))...)
	if err != nil {
		return err
	}
	defer client.Close()
	watch.begin()
	err = r.run(within, client)
	if why := context.Cause(within); isLoginRefused(why) {
		return cl.refused(ctx, why)
	}
	if err == nil && leftOut != nil {
		return &reportedError{leftOut}
	}
	return err
}

// refused is the error of a client that was let in once, and is not any more.
func (cl *cluster) refused(ctx context.Context, err error) error {
	n, wrong := cl.connection()
	if wrong != nil {
		return wrong
	}
	return n.unreachable(ctx, err)
}

// bounds finds where to begin and the ends at this moment of the partitions
// that hold something to read, of those that are not offline.
func (f *consumeFlags) bounds(ctx context.Context, admin *kadm.Client, topic string, off offline) (from map[int32]kgo.Offset, ends map[int32]int64, err error) {
	about := onTopic(topic, "read")
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err := off.others(err); err != nil {
		return nil, nil, about.explained(err, "")
	}
	list := admin.ListCommittedOffsets
	if f.readUncommitted {
		list = admin.ListEndOffsets
	}
	last, err := list(ctx, topic)
	if err = off.others(err); err == nil {
		err = last.Error()
	}
	if err == nil && len(last[topic])+len(off) == 0 {
		err = kerr.UnknownTopicOrPartition
	}
	if err != nil {
		return nil, nil, about.explained(err, "")
	}
	begin, err := f.beginning(ctx, admin, topic, off, starts, last)
	if err != nil {
		return nil, nil, err
	}
	from, ends = map[int32]kgo.Offset{}, map[int32]int64{}
	wanted := map[int32]bool{}
	for _, p := range f.partitions {
		if _, ok := last[topic][p]; !ok && off[p] == nil {
			return nil, nil, inputError(fmt.Errorf("topic %q has no partition %d", topic, p))
		}
		wanted[p] = true
	}
	for p, end := range last[topic] {
		if len(wanted) > 0 && !wanted[p] {
			continue
		}
		at := begin(p)
		from[p] = kgo.NewOffset().At(at)
		if f.group != "" {
			at = starts[topic][p].Offset // its members may have come anywhere
		}
		if at < end.Offset {
			ends[p] = end.Offset
		}
	}
	return from, ends, nil
}

// beginning tells where to begin in each partition, and the user where that is beyond
// the end: nothing is there yet, and a broker refuses to read from there.
func (f *consumeFlags) beginning(ctx context.Context, admin *kadm.Client, topic string, off offline, starts, last kadm.ListedOffsets) (func(partition int32) int64, error) {
	wrong := inputError(fmt.Errorf("--offset %q: use start, end, N, -N, or @TIME such as @-1h, @-7d, @2026-01-31 or @2026-01-31T12:00:00Z", f.offset))
	start := func(p int32) int64 { return starts[topic][p].Offset }
	if f.offset == "start" {
		return start, nil
	}
	if f.offset == "end" {
		return func(p int32) int64 { return last[topic][p].Offset }, nil
	}
	if at, ok := strings.CutPrefix(f.offset, "@"); ok {
		ms, ok := parseTime(at, time.Now())
		if !ok {
			return nil, wrong
		}
		times, err := admin.ListOffsetsAfterMilli(ctx, ms, topic)
		return func(p int32) int64 { return times[topic][p].Offset }, onTopic(topic, "read").explained(off.others(err), "")
	}
	n, err := strconv.ParseInt(f.offset, 10, 64)
	if err != nil {
		return nil, wrong
	}
	if n < 0 {
		return func(p int32) int64 { return max(start(p), last[topic][p].Offset+n) }, nil
	}
	ends, err := admin.ListEndOffsets(ctx, topic) // last may be where an open transaction begins
	return func(p int32) int64 {
		end := ends[topic][p].Offset
		if n > end {
			f.note(fmt.Sprintf("--offset %d is beyond the end of partition %d, which is %d", n, p, end))
		}
		return max(start(p), min(n, end))
	}, onTopic(topic, "read").explained(off.others(err), "")
}

// parseTime reads a time after "@", in milliseconds: such a number, RFC 3339, or how
// long before or after now it is.
func parseTime(s string, now time.Time) (ms int64, ok bool) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return ms, ms >= 0
	}
	if by, ok := parseSpan(s); ok {
		return max(0, now.Add(by).UnixMilli()), true
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly, "2006-01-02T15:04:05", time.DateTime} { // without a zone it is UTC
		if at, err := time.Parse(layout, s); err == nil {
			return at.UnixMilli(), true
		}
	}
	return 0, false
}

// parseSpan reads a duration that may also be in days: 36h, 7d, -400d.
func parseSpan(s string) (time.Duration, bool) {
	const day = 24 * time.Hour
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 64)
		return time.Duration(n) * day, err == nil && n > -100_000 && n < 100_000
	}
	by, err := time.ParseDuration(s)
	return by, err == nil
}

// recordPrinter makes the function that prints one record.
func (a *app) recordPrinter(format string) (func(*bufio.Writer, *kgo.Record) error, error) {
	if format == "" {
		return printRecordJSON, nil
	}
	format = unescaped(format)
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		i++
		if i >= len(format) || !strings.ContainsRune("kvtpodh%", rune(format[i])) {
			return nil, inputError(fmt.Errorf("--format %q: after %% use one of k v t p o d h %%", format))
		}
	}
	return func(w *bufio.Writer, r *kgo.Record) error {
		for i := 0; i < len(format); i++ {
			if format[i] != '%' {
				w.WriteByte(format[i])
				continue
			}
			i++
			switch format[i] {
			case 'k':
				w.Write(r.Key)
			case 'v':
				w.Write(r.Value)
			case 't':
				w.WriteString(r.Topic)
			case 'p':
				fmt.Fprint(w, r.Partition)
			case 'o':
				fmt.Fprint(w, r.Offset)
			case 'd':
				fmt.Fprint(w, r.Timestamp.UnixMilli())
			case 'h':
				for i, h := range r.Headers {
					if i > 0 {
						w.WriteByte(',')
					}
					fmt.Fprintf(w, "%s=%s", h.Key, h.Value)
				}
			default:
				w.WriteByte('%')
			}
		}
		return nil // the writer keeps its first error for Flush
	}, nil
}

// recordJSON is a record as consume prints it: keys and values that are text
// as they are, others in base64 under key_base64 and value_base64. Headers are in
// their order, for a name may be there more than once.
type recordJSON struct {
	Topic       string       `json:"topic"`
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	Timestamp   int64        `json:"timestamp"`
	Key         *string      `json:"key"`
	KeyBase64   []byte       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 []byte       `json:"value_base64,omitempty"`
	Headers     []headerJSON `json:"headers,omitempty"`
}

type headerJSON struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

func printRecordJSON(w *bufio.Writer, r *kgo.Record) error {
	j := recordJSON{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}
	j.Key, j.KeyBase64 = textOrBase64(r.Key)
	j.Value, j.ValueBase64 = textOrBase64(r.Value)
	for _, h := range r.Headers {
		j.Headers = append(j.Headers, shownHeader(h.Key, h.Value))
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(j)
}

func shownHeader(key string, value []byte) headerJSON {
	h := headerJSON{Key: key}
	h.Value, h.ValueBase64 = textOrBase64(value)
	return h
}

func textOrBase64(b []byte) (*string, []byte) {
	if b == nil {
		return nil, nil
	}
	if !utf8.Valid(b) {
		return nil, b
	}
	s := string(b)
	return &s, nil
}
