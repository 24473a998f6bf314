package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/levada/levada/internal/recordbatch"
)

// TestLogOfAServer looks at the data of a server while it runs and after a SIGKILL,
// prints it, and finds a byte that was changed.
func TestLogOfAServer(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir, "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "orders", "--partitions", "2", "-b", s.address)
	mustLevada(t, "a=one\nb=two\nc=three\n", "topic", "produce", "orders", "--key-separator", "=", "-b", s.address)
	if out := mustLevada(t, "", "log", "verify", dir); !strings.Contains(out, "orders-1") || !strings.Contains(out, "in use by a broker") {
		t.Errorf("of a running server:\n%s", out)
	}
	_ = s.signal(syscall.SIGKILL) // it says that it was killed
	var report struct {
		Partitions []verifiedRow `json:"partitions"`
		Notes      []string      `json:"notes"`
	}
	out := mustLevada(t, "", "log", "verify", dir, "-o", "json")
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	records := int64(0)
	for _, p := range report.Partitions {
		records += p.Records
		if len(p.Damage) > 0 {
			t.Errorf("%s is damaged: %q", p.Partition, p.Damage)
		}
	}
	if len(report.Partitions) != 2 || records != 3 || !strings.Contains(strings.Join(report.Notes, " "), "rows, all can be read") {
		t.Errorf("report\n%s", out)
	}

	dump := mustLevada(t, "", "log", "dump", filepath.Join(dir, "logs", "orders-0"), filepath.Join(dir, "logs", "orders-1"), "--records")
	for _, want := range []string{"a=one", "b=two", "c=three", "orders-0/00000000000000000000.log@0 offsets 0-", "sequence 0 codec none CreateTime"} {
		if !strings.Contains(dump, want) {
			t.Errorf("the dump has no %q:\n%s", want, dump)
		}
	}
	segments, err := filepath.Glob(filepath.Join(dir, "logs", "orders-*", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range segments {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(whole) == 0 {
			continue
		}
		one := mustLevada(t, "", "log", "dump", path, "-o", "json", "--records")
		var b dumpedBatch
		if err := json.Unmarshal([]byte(strings.SplitN(one, "\n", 2)[0]), &b); err != nil || !b.CRCValid || len(b.RecordsOfTheLine) == 0 || b.RecordsOfTheLine[0].Value == nil {
			t.Errorf("%v of\n%s", err, one)
		}
		whole[len(whole)-1] ^= 1
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"log", "verify", dir}, {"log", "dump", path}} {
			if r := levada(t, "", args...); r.code != 1 || !strings.Contains(r.stdout+r.stderr, filepath.Base(path)) || !strings.Contains(r.stdout+r.stderr, "restore the file") || !strings.Contains(r.stderr, "1 fault damages") {
				t.Errorf("%v of a damaged segment: exit %d\n%s%s", args, r.code, r.stdout, r.stderr)
			}
		}
		whole[len(whole)-1] ^= 1
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := levada(t, "", "log", "verify", filepath.Join(dir, "none")); r.code != exitInput {
		t.Errorf("of nothing: exit %d\n%s", r.code, r.stderr)
	}
	damageOfItsDatabase(t, dir)
}

// damageOfItsDatabase changes bytes of what the database wrote last: no server starts
// then, for it would lose rows.
func damageOfItsDatabase(t *testing.T, dir string) {
	logs, err := filepath.Glob(filepath.Join(dir, "meta", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	path := slices.Max(logs)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, len(whole) / 2, len(whole) - 1} {
		whole[at] ^= 1
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"log", "verify", dir}, {"server", "--data", dir, "--listen", "127.0.0.1:0"}} {
			r := levada(t, "", args...)
			if out := r.stdout + r.stderr; r.code == 0 || !strings.Contains(out, path) || !strings.Contains(out, "restore the data directory from a backup") {
				t.Errorf("%v, byte %d of %s is changed: exit %d\n%s", args, at, path, r.code, out)
			}
		}
		whole[at] ^= 1
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	mustLevada(t, "", "log", "verify", dir)
}

// TestLogVerifyWantsWhatTheDatabaseNames: a partition that lacks its directory, its
// segments or the first of them is a fault, and so is one that no topic has.
func TestLogVerifyWantsWhatTheDatabaseNames(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	s := startServer(t, data, "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "orders", "--partitions", "2", "-b", s.address)
	mustLevada(t, "a=one\na=two\n", "topic", "produce", "orders", "--key-separator", "=", "-b", s.address) // to orders-0
	mustLevada(t, "", "backup", filepath.Join(dir, "backup"), "--data", data)
	_ = s.signal(syscall.SIGKILL) // it says that it was killed
	first := filepath.Join("logs", "orders-0", "00000000000000000000.log")
	for name, c := range map[string]struct {
		change func(in string) error
		want   string
	}{
		"whole":                   {func(string) error { return nil }, ""},
		"no directory":            {func(in string) error { return os.RemoveAll(filepath.Join(in, "logs", "orders-1")) }, "orders-1: the database names this partition, and its directory is not there"},
		"no format":               {func(in string) error { return os.Remove(filepath.Join(in, "format")) }, "format: no such file or directory; restore it"},
		"another format":          {func(in string) error { return os.WriteFile(filepath.Join(in, "format"), []byte("x\n"), 0o600) }, `format: it says "x", this program reads "levada broker data, version 1"`},
		"no logs":                 {func(in string) error { return os.RemoveAll(filepath.Join(in, "logs")) }, "orders-0: the database names this partition, and its directory is not there"},
		"no segment":              {func(in string) error { return os.Remove(filepath.Join(in, first)) }, "orders-0: the database names this partition, and no segment is there"},
		"begins above its start":  {func(in string) error { return renameTo(in, first, 7) }, "orders-0: the first segment begins at offset 7, and the log start is 0"},
		"a directory of no topic": {func(in string) error { return os.Mkdir(filepath.Join(in, "logs", "orders-2"), 0o700) }, "orders-2: the database names no such partition"},
		"an epoch too high":       {func(in string) error { return writeAt(in, first, 12, []byte{0, 0, 0, 2}) }, "its leader epoch is 2, and"},
		"no database":             {func(in string) error { return os.RemoveAll(filepath.Join(in, "meta")) }, "no such file"},
	} {
		for _, from := range []string{"data", "backup"} {
			in := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+"-"+from)
			if _, _, err := copyTree(t.Context(), filepath.Join(dir, from), in); err != nil {
				t.Fatal(err)
			}
			if err := c.change(in); err != nil {
				t.Fatal(err)
			}
			before := filesUnder(t, in)
			r := levada(t, "", "log", "verify", in)
			if code := map[bool]int{true: exitFailed, false: exitDone}[c.want != ""]; r.code != code || !strings.Contains(r.stdout, c.want) {
				t.Errorf("%s of %s: exit %d\n%s%s", name, from, r.code, r.stdout, r.stderr)
			}
			if after := filesUnder(t, in); !slices.Equal(before, after) {
				t.Errorf("%s of %s: the look leaves\n%q, and there was\n%q", name, from, after, before)
			}
		}
	}
}

// renameTo gives a segment another base offset in its name.
func renameTo(in, segment string, base int64) error {
	path := filepath.Join(in, segment)
	return os.Rename(path, filepath.Join(filepath.Dir(path), fmt.Sprintf("%020d.log", base)))
}

func writeAt(in, segment string, at int64, p []byte) error {
	f, err := os.OpenFile(filepath.Join(in, segment), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(p, at)
	return errors.Join(err, f.Close())
}

func filesUnder(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		files = append(files, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestLogOfWhatIsNoLog: a path that is no log is refused, and not called whole.
func TestLogOfWhatIsNoLog(t *testing.T) {
	dir := t.TempDir()
	data, folder, text := filepath.Join(dir, "data"), filepath.Join(dir, "folder"), filepath.Join(dir, "folder", "notes.log")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(text, []byte("some text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, data, "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "orders", "-b", s.address)
	_ = s.signal(syscall.SIGKILL) // it says that it was killed
	partition := filepath.Join(data, "logs", "orders-0")
	for _, verb := range []string{"verify", "dump"} {
		for _, path := range []string{dir, folder, text, filepath.Join(data, "logs"), filepath.Join(data, "format")} {
			r := levada(t, "", "log", verb, path)
			if r.code != exitInput || !strings.Contains(r.stderr, "no data directory, partition or segment; name a data directory") {
				t.Errorf("%s %s: exit %d\n%s%s", verb, path, r.code, r.stdout, r.stderr)
			}
		}
		for _, path := range []string{data, partition, filepath.Join(partition, "00000000000000000000.log")} {
			mustLevada(t, "", "log", verb, path)
		}
	}
}

// TestDumpShowsWhatABatchHolds: bytes that are no text, nulls, headers and the time
// from which compaction may remove a tombstone.
func TestDumpShowsWhatABatchHolds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "orders-3")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var b recordbatch.Builder
	b.Append(1000, []byte("k"), nil, recordbatch.EncodeHeaders(nil, []recordbatch.Header{{Key: "a", Value: []byte("1")}, {Key: "b"}}))
	b.Append(1001, nil, []byte{0xff, 0}, nil)
	batch := b.Batch()
	batch.SetCRC()
	var f recordbatch.Filter
	kept, _, err := f.Append(nil, batch, 5000, func(*recordbatch.Record) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "00000000000000000000.log")
	if err := os.WriteFile(path, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	text := mustLevada(t, "", "log", "dump", path, "--records", "-o", "table")
	for _, want := range []string{"orders-3/00000000000000000000.log@0 offsets 0-1 records 2", "delete horizon 5000", "0 1000 k=null headers a=1,b=null\n", `1 1001 null="\xff\x00"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	out := mustLevada(t, "", "log", "dump", path, "--records", "-o", "json")
	for _, want := range []string{`"delete_horizon_ms":5000`, `"key":"k","value":null,"headers":[{"key":"a","value":"1"},{"key":"b","value":null}]`, `"key":null,"value":null,"value_base64":"/wA="`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
