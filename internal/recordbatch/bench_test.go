package recordbatch

import "testing"

// benchRecords is the number of records of 100 B (16 B key, 84 B value) in a
// batch of about 100 KiB.
const benchRecords = 1000

var (
	benchKey   = make([]byte, 16)
	benchValue = make([]byte, 84)
)

func benchBatch() Batch {
	var b Builder
	for i := range benchRecords {
		b.Append(1_700_000_000_000+int64(i), benchKey, benchValue, nil)
	}
	batch := b.Batch()
	batch.SetCRC()
	return batch
}

// perRecord reports the time of one record, of b.N batches.
func perRecord(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

func BenchmarkBuilder(b *testing.B) {
	var builder Builder
	buf := make([]byte, 0, 256<<10)
	b.ReportAllocs()
	for b.Loop() {
		builder.Reset(buf)
		for i := range benchRecords {
			builder.Append(1_700_000_000_000+int64(i), benchKey, benchValue, nil)
		}
		builder.Batch()
	}
	perRecord(b)
}

func BenchmarkReader(b *testing.B) {
	batch := benchBatch()
	var r Reader
	var rec Record
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Reset(batch); err != nil {
			b.Fatal(err)
		}
		for {
			ok, err := r.Next(&rec)
			if err != nil {
				b.Fatal(err)
			}
			if !ok {
				break
			}
		}
	}
	perRecord(b)
}

func BenchmarkCRC(b *testing.B) {
	batch := benchBatch()
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		batch.SetCRC()
	}
	perRecord(b)
}

func BenchmarkVerify(b *testing.B) {
	batch := benchBatch()
	var r Reader
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Verify(batch); err != nil {
			b.Fatal(err)
		}
	}
	perRecord(b)
}
