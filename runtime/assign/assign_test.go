package assign

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// TestScripts runs testdata/assign*: "topics" sets the partitions of topics,
// "assign" has a member a line (id [gen=N] [txn=ID] [subs=a+b,c] [topics=a,b]
// [owns=t:0,1;u:2]) and prints what each is told.
func TestScripts(t *testing.T) {
	partitions := map[string]int32{}
	datadriven.RunTest(t, "testdata/assign", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "topics":
			clear(partitions)
			for _, a := range d.CmdArgs {
				var n int32
				if _, err := fmt.Sscan(a.Vals[0], &n); err != nil {
					t.Fatal(err)
				}
				partitions[a.Key] = n
			}
			return ""
		case "assign":
			var members []Member
			for line := range strings.Lines(d.Input) {
				members = append(members, parseMember(t, strings.Fields(line)))
			}
			got, err := Assign(members, partitions)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			return formatAssignments(t, got)
		}
		t.Fatalf("unknown command %s", d.Cmd)
		return ""
	})
}

func parseMember(t *testing.T, fields []string) Member {
	t.Helper()
	m := Member{ID: fields[0], Metadata: Metadata{Generation: -1}}
	var data UserData
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "gen":
			if _, err := fmt.Sscan(value, &m.Generation); err != nil {
				t.Fatal(err)
			}
		case "instance":
			m.InstanceID = value
		case "txn":
			data.TransactionalID = value
		case "topics":
			m.Topics = strings.Split(value, ",")
		case "subs":
			for s := range strings.SplitSeq(value, ",") {
				data.Subtopologies = append(data.Subtopologies, strings.Split(s, "+"))
			}
		case "owns":
			for s := range strings.SplitSeq(value, ";") {
				topic, list, _ := strings.Cut(s, ":")
				for n := range strings.SplitSeq(list, ",") {
					var p int32
					if _, err := fmt.Sscan(n, &p); err != nil {
						t.Fatal(err)
					}
					m.Owned = append(m.Owned, Partition{topic, p})
				}
			}
		case "userdata":
			m.UserData = []byte(value)
		default:
			t.Fatalf("unknown word %s", f)
		}
	}
	if m.UserData == nil && (data.TransactionalID != "" || data.Subtopologies != nil) {
		m.UserData = data.Encode()
	}
	return m
}

func formatAssignments(t *testing.T, as map[string]Assignment) string {
	t.Helper()
	var b strings.Builder
	var ids []string
	for id := range as {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		fmt.Fprintf(&b, "%s:", id)
		for _, r := range runs(as[id].Partitions) {
			fmt.Fprintf(&b, " %s%d", r.topic, r.partitions)
		}
		b.WriteByte('\n')
	}
	if len(ids) > 0 {
		live, err := DecodeLive(as[ids[0]].UserData)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "live: %s\n", strings.Join(live, " "))
	}
	return b.String()
}

// program is what random members run: sub-topologies and topic widths.
type program struct {
	data       UserData
	partitions map[string]int32
}

func drawProgram(t *rapid.T, maxSubs int, maxPartitions int32) program {
	p := program{partitions: map[string]int32{}}
	for s := range rapid.IntRange(1, maxSubs).Draw(t, "subs") {
		var topics []string
		for i := range rapid.IntRange(1, 2).Draw(t, "topics") {
			topic := fmt.Sprintf("t%d.%d", s, i)
			p.partitions[topic] = rapid.Int32Range(0, maxPartitions).Draw(t, "partitions")
			topics = append(topics, topic)
		}
		p.data.Subtopologies = append(p.data.Subtopologies, topics)
	}
	return p
}

func (p program) tasks(sub int) int {
	n := int32(0)
	for _, t := range p.data.Subtopologies[sub] {
		n = max(n, p.partitions[t])
	}
	return int(n)
}

// TestFewestMoves compares with every balanced assignment of small groups.
func TestFewestMoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProgram(t, 2, 3)
		n := rapid.IntRange(1, 3).Draw(t, "members")
		members := make([]Member, n)
		for i := range members {
			members[i] = Member{ID: fmt.Sprint("m", i), Metadata: Metadata{UserData: p.data.Encode(), Generation: 1}}
		}
		var owner [][]int
		for s := range p.data.Subtopologies {
			owner = append(owner, nil)
			for task := range p.tasks(s) {
				m := rapid.IntRange(-1, n-1).Draw(t, "owner")
				owner[s] = append(owner[s], m)
				if m >= 0 {
					members[m].Owned = append(members[m].Owned, p.taskPartitions(s, task)...)
				}
			}
		}
		got, err := Assign(members, p.partitions)
		if err != nil {
			t.Fatal(err)
		}
		kept := 0
		for s := range owner {
			for task, m := range owner[s] {
				if m >= 0 && slices.Contains(got[members[m].ID].Partitions, p.taskPartitions(s, task)[0]) {
					kept++
				}
			}
		}
		if want := mostKept(owner, n); kept != want {
			t.Fatalf("kept %d tasks in place, %d are possible", kept, want)
		}
	})
}

func (p program) taskPartitions(sub, task int) []Partition {
	var out []Partition
	for _, t := range p.data.Subtopologies[sub] {
		if int32(task) < p.partitions[t] {
			out = append(out, Partition{t, int32(task)})
		}
	}
	return out
}

// mostKept tries every assignment of every task.
func mostKept(owner [][]int, members int) int {
	best := -1
	counts := make([][]int, len(owner))
	for s := range counts {
		counts[s] = make([]int, members)
	}
	var try func(s, task, kept int)
	try = func(s, task, kept int) {
		if s == len(owner) {
			total := make([]int, members)
			for _, c := range counts {
				if slices.Max(c)-slices.Min(c) > 1 {
					return
				}
				for m := range c {
					total[m] += c[m]
				}
			}
			if slices.Max(total)-slices.Min(total) <= 1 {
				best = max(best, kept)
			}
			return
		}
		if task == len(owner[s]) {
			try(s+1, 0, kept)
			return
		}
		for m := range members {
			counts[s][m]++
			k := kept
			if owner[s][task] == m {
				k++
			}
			try(s, task+1, k)
			counts[s][m]--
		}
	}
	try(0, 0, 0)
	return best
}

// TestDifferentProgramsNeverShareATask: members that declare overlapping
// sub-topologies, and claim anything at all, still never get a partition twice.
func TestDifferentProgramsNeverShareATask(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topics := []string{"a", "b", "c"}
		partitions := map[string]int32{"a": 3, "b": 2, "c": 3}
		var members []Member
		for i := range rapid.IntRange(1, 4).Draw(t, "members") {
			var data UserData
			data.Subtopologies = rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom(topics), 1, 3), 0, 3).Draw(t, "subs")
			m := Member{ID: fmt.Sprint("m", i), Metadata: Metadata{Topics: topics, UserData: data.Encode()}}
			m.Generation = rapid.Int32Range(-1, 2).Draw(t, "generation")
			for range rapid.IntRange(0, 5).Draw(t, "claims") {
				m.Owned = append(m.Owned, Partition{rapid.SampledFrom(topics).Draw(t, "topic"), rapid.Int32Range(0, 3).Draw(t, "partition")})
			}
			members = append(members, m)
		}
		got, err := Assign(members, partitions)
		if err != nil {
			t.Fatal(err)
		}
		owner := map[Partition]string{}
		for _, m := range members {
			for _, tp := range got[m.ID].Partitions {
				if other, twice := owner[tp]; twice {
					t.Fatalf("%v given to %s and %s", tp, other, m.ID)
				}
				owner[tp] = m.ID
				for _, other := range members {
					if other.ID != m.ID && slices.Contains(other.Owned, tp) && !slices.Contains(m.Owned, tp) {
						t.Fatalf("%v given to %s while %s claims it", tp, m.ID, other.ID)
					}
				}
			}
		}
		slices.Reverse(members)
		again, err := Assign(members, partitions)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(again) != fmt.Sprint(got) {
			t.Fatalf("the order of the members changes the result:\n%v\n%v", got, again)
		}
	})
}
