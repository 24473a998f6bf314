package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// subject is what a request is about, and the right that it needs: what the broker
// says of a fault names neither.
type subject struct {
	thing string // topic "orders"
	on    string // as levada acl create names it: --topic orders
	right string // an operation: read
}

func onTopic(name, right string) subject {
	return subject{"topic " + strconv.Quote(name), "--topic " + name, right}
}

func onGroup(name, right string) subject {
	return subject{"group " + strconv.Quote(name), "--group " + name, right}
}

// onCluster is for what needs a right on the cluster as a whole.
func onCluster(thing, right string) subject { return subject{thing, "--cluster", right} }

// explained is an error of the broker with the thing, the broker's own words for it,
// which begin with the name of the thing or are without it, and the mend. The same
// fault has the same exit code in all commands.
func (s subject) explained(err error, message string) error {
	var known *kerr.Error
	message = strings.TrimPrefix(message, s.thing+": ")
	if err == nil || !errors.As(err, &known) {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", s.thing, err)
	}
	text := ""
	switch {
	case slices.Contains(refusals, known):
		text = fmt.Sprintf("%s: %s: the right to %s is missing; an administrator gives it with: levada acl create --allow User:NAME --operation %s %s", s.thing, known.Message, s.right, s.right, s.on)
	case known == kerr.UnknownTopicOrPartition && strings.HasPrefix(s.thing, "topic "):
		text = s.thing + " does not exist (see: " + program + " topic list)"
	case known == kerr.GroupIDNotFound:
		text = s.thing + " does not exist (see: " + program + " group list)"
	case known == kerr.ResourceNotFound && strings.HasPrefix(s.thing, "user "):
		text = s.thing + " does not exist (see: " + program + " user list)"
	case known == kerr.NonEmptyGroup:
		text = fmt.Sprintf("%s: %s: it has members: stop them first (%s group describe shows them)", s.thing, known.Message, program)
	case known == kerr.TopicAlreadyExists:
		text = fmt.Sprintf("%s: %s: it exists already (%s topic describe shows it, alter-config and add-partitions change it)", s.thing, known.Message, program)
	case known == kerr.SecurityDisabled:
		text = fmt.Sprintf("%s: %s: the brokers have no authorizer, so there are no rules (%s server --authorize has one)", s.thing, known.Message, program)
	case known == kerr.InvalidRecord && message == "":
		text = fmt.Sprintf("%s: %s: the broker does not take this record; where cleanup.policy is compact each needs a key (-k, -K, or %%k of -f)", s.thing, known.Message)
	case message != "" && known == kerr.KafkaStorageError:
		return environmentError(&explainedError{known, fmt.Sprintf("%s: %s: %s", s.thing, known.Message, message)})
	case message != "":
		text = fmt.Sprintf("%s: %s: %s", s.thing, known.Message, message)
	default:
		return wrongInput(fmt.Errorf("%s: %w", s.thing, known))
	}
	return wrongInput(&explainedError{known, text})
}

// refusals are the errors of who lacks a right.
var refusals = []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed}

type explainedError struct {
	known *kerr.Error
	text  string
}

func (e *explainedError) Error() string { return e.text }
func (e *explainedError) Unwrap() error { return e.known }

// checkConfig refuses values that cannot be right, with what to write: numbers have no
// units in Kafka.
func checkConfig(name, value string) error {
	var unit string
	switch {
	case strings.HasSuffix(name, ".ms"):
		unit = "milliseconds"
	case strings.HasSuffix(name, ".bytes"):
		unit = "bytes"
	default:
		return nil
	}
	value = strings.TrimSpace(value)
	if _, err := strconv.ParseInt(value, 10, 64); err == nil {
		return nil
	}
	hint := ""
	if by, ok := parseSpan(value); ok && unit == "milliseconds" {
		hint = fmt.Sprintf(": %s is %d", value, by.Milliseconds())
	}
	return inputError(fmt.Errorf("%s=%s: it takes a number of %s%s", name, value, unit, hint))
}
