// Package recordbatch reads and writes Kafka's record batch, magic 2: the one
// form in which records travel between sockets, files and the runtime.
//
// A Batch is the encoded bytes with accessors over its header; nothing is
// decoded until a Reader walks its records, and a Reader hands out views into
// those bytes. A Builder encodes records into one buffer. Nothing here
// allocates per record.
//
// The format is Kafka's (documentation, section "Record Batch"; KIP-98,
// KIP-101). Byte offsets of the header:
//
//	 0  int64  base offset              (outside the CRC: the log sets it)
//	 8  int32  batch length             (bytes that follow this field)
//	12  int32  partition leader epoch   (outside the CRC: the log sets it)
//	16  int8   magic = 2
//	17  uint32 CRC-32C of all from attributes on
//	21  int16  attributes: 0-2 codec, 3 timestamp type, 4 transactional, 5 control
//	23  int32  last offset delta
//	27  int64  base timestamp, ms
//	35  int64  max timestamp, ms
//	43  int64  producer id
//	51  int16  producer epoch
//	53  int32  base sequence
//	57  int32  record count
//	61  records
package recordbatch
