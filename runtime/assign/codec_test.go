package assign

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var golden = UserData{
	ProcessID: "0b7c", TransactionalID: "app-0b7c-0",
	Subtopologies: [][]string{{"clicks", "users"}, {"counts"}},
}

func TestUserDataForm(t *testing.T) {
	want := "" +
		"01" + // version
		"04" + hex.EncodeToString([]byte("0b7c")) +
		"0a" + hex.EncodeToString([]byte("app-0b7c-0")) +
		"02" + // sub-topologies
		"02" + "06" + hex.EncodeToString([]byte("clicks")) + "05" + hex.EncodeToString([]byte("users")) +
		"01" + "06" + hex.EncodeToString([]byte("counts"))
	if got := hex.EncodeToString(golden.Encode()); got != want {
		t.Errorf("form changed:\n got %s\nwant %s", got, want)
	}
	back, err := DecodeUserData(golden.Encode())
	if err != nil || !reflect.DeepEqual(back, golden) {
		t.Errorf("got %+v, %v", back, err)
	}
}

func TestLiveForm(t *testing.T) {
	if got, want := hex.EncodeToString(EncodeLive([]string{"a", "bc"})), "0102"+"0161"+"026263"; got != want {
		t.Errorf("form changed: got %s, want %s", got, want)
	}
}

func TestMetadataForm(t *testing.T) {
	m := Metadata{Topics: []string{"b", "a"}, UserData: []byte{7}, Owned: []Partition{{"b", 1}, {"a", 2}, {"a", 0}}, Generation: 5}
	want := "0003" + "00000002" + "000161" + "000162" + "00000001" + "07" +
		"00000002" + "000161" + "00000002" + "00000000" + "00000002" + "000162" + "00000001" + "00000001" +
		"00000005" + "ffff"
	got := EncodeMetadata(m)
	if hex.EncodeToString(got) != want {
		t.Errorf("form changed:\n got %x\nwant %s", got, want)
	}
	back, err := DecodeMetadata(got)
	if err != nil {
		t.Fatal(err)
	}
	wantBack := Metadata{Topics: []string{"a", "b"}, UserData: []byte{7}, Owned: []Partition{{"a", 0}, {"a", 2}, {"b", 1}}, Generation: 5}
	if !reflect.DeepEqual(back, wantBack) {
		t.Errorf("got %+v, want %+v", back, wantBack)
	}
}

func TestMetadataOfOlderVersions(t *testing.T) {
	for version := int16(0); version <= 2; version++ {
		k := kmsg.NewConsumerMemberMetadata()
		k.Version, k.Topics, k.Generation = version, []string{"t"}, 9
		o := kmsg.NewConsumerMemberMetadataOwnedPartition()
		o.Topic, o.Partitions = "t", []int32{3}
		k.OwnedPartitions = append(k.OwnedPartitions, o)
		m, err := DecodeMetadata(k.AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		wantOwned, wantGeneration := version >= 1, int32(-1)
		if version >= 2 {
			wantGeneration = 9
		}
		if (len(m.Owned) == 1) != wantOwned || m.Generation != wantGeneration {
			t.Errorf("version %d: owned %v, generation %d", version, m.Owned, m.Generation)
		}
	}
}

func TestRefusedUserData(t *testing.T) {
	for name, tc := range map[string]struct {
		bytes []byte
		want  string
	}{
		"newer version":  {[]byte{2}, "version 2"},
		"cut":            {golden.Encode()[:20], "entries"},
		"bytes after":    {append(golden.Encode(), 0), "1 bytes after"},
		"huge count":     {[]byte{1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}, "entries"},
		"long topic":     {UserData{Subtopologies: [][]string{{strings.Repeat("x", 250)}}}.Encode(), "at most 249"},
		"varint too big": {append([]byte{1}, bytes.Repeat([]byte{0xff}, 11)...), "entries"},
	} {
		_, err := DecodeUserData(tc.bytes)
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}

func FuzzDecodeUserData(f *testing.F) {
	f.Add(golden.Encode())
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := DecodeUserData(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := DecodeUserData(u.Encode())
		if err != nil || !reflect.DeepEqual(again, u) {
			t.Fatalf("%+v became %+v, %v", u, again, err)
		}
	})
}

func FuzzDecodeLive(f *testing.F) {
	f.Add(EncodeLive([]string{"a", ""}))
	f.Fuzz(func(t *testing.T, b []byte) {
		ids, err := DecodeLive(b)
		if err != nil {
			return
		}
		again, err := DecodeLive(EncodeLive(ids))
		if err != nil || len(again) != len(ids) {
			t.Fatalf("%q became %q, %v", ids, again, err)
		}
	})
}

func FuzzDecodeMetadata(f *testing.F) {
	f.Add(EncodeMetadata(Metadata{Topics: []string{"t"}, Owned: []Partition{{"t", 1}}, Generation: 3}))
	f.Add(EncodeAssignment(Assignment{Partitions: []Partition{{"t", 1}}, UserData: []byte{1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := DecodeMetadata(b); err == nil {
			again, err := DecodeMetadata(EncodeMetadata(m))
			if err != nil || len(again.Owned) != len(m.Owned) || again.Generation != m.Generation {
				t.Fatalf("%+v became %+v, %v", m, again, err)
			}
		}
		if a, err := DecodeAssignment(b); err == nil {
			again, err := DecodeAssignment(EncodeAssignment(a))
			if err != nil || len(again.Partitions) != len(a.Partitions) {
				t.Fatalf("%+v became %+v, %v", a, again, err)
			}
		}
	})
}
