package logbroker

import (
	"errors"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker/commitlog"
)

// errorCode is the error code that a client is told.
func errorCode(err error) int16 {
	var ke *kerr.Error
	switch {
	case errors.As(err, &ke):
		return ke.Code
	case errors.Is(err, commitlog.ErrOutOfOrderSequence):
		return kerr.OutOfOrderSequenceNumber.Code
	case errors.Is(err, commitlog.ErrInvalidProducerEpoch):
		return kerr.InvalidProducerEpoch.Code
	case errors.Is(err, commitlog.ErrCoordinatorFenced):
		return kerr.TransactionCoordinatorFenced.Code
	case errors.Is(err, commitlog.ErrInvalidTxnState):
		return kerr.InvalidTxnState.Code
	case errors.Is(err, commitlog.ErrConcurrentTransactions):
		return kerr.ConcurrentTransactions.Code
	case errors.Is(err, recordbatch.ErrCorrupt):
		return kerr.CorruptMessage.Code
	case errors.Is(err, commitlog.ErrInvalidBatch):
		return kerr.InvalidRecord.Code
	case errors.Is(err, commitlog.ErrOffsetOutOfRange):
		return kerr.OffsetOutOfRange.Code
	case errors.Is(err, commitlog.ErrClosed):
		return kerr.UnknownTopicOrPartition.Code
	case errors.Is(err, syscall.ENOSPC):
		return kerr.KafkaStorageError.Code
	}
	return kerr.KafkaStorageError.Code
}

// fencedBefore is an error in the words of a request's version: before some version
// clients do not know that they are fenced, and are told so as Produce does.
func fencedBefore(known, version int16, err error) error {
	if version < known && errors.Is(err, kerr.ProducerFenced) {
		return kerr.InvalidProducerEpoch
	}
	return err
}

// maxErrorMessage bounds what an error says: it may quote what a client sent, and answers
// of older versions cannot tell more than 32767 bytes.
const maxErrorMessage = 4 << 10

// errorMessage is what an error says beside its code, which the client knows.
func errorMessage(err error) string {
	text := err.Error()
	if known := (*kerr.Error)(nil); errors.As(err, &known) {
		more := strings.Replace(text, known.Error()+": ", "", 1)
		if more == text {
			more = strings.Replace(text, known.Error(), known.Description, 1)
		}
		text = more
	}
	if len(text) > maxErrorMessage {
		text = strings.ToValidUTF8(text[:maxErrorMessage], "") + "..."
	}
	return text
}
