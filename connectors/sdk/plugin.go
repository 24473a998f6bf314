package sdk

import (
	"context"

	"github.com/levada/levada/connectors/proto"
)

// Plugin is a connector program: a source, a sink, or both.
type Plugin struct {
	Name    string // short, lower case, as pipelines name it
	Version string
	Summary string // one sentence
	Source  *SourceRole
	Sink    *SinkRole
}

// SourceRole is a source with its configuration; SourceOf makes it.
type SourceRole struct {
	Fields   []Field
	validate func(configJSON []byte) []Fault
	open     func(ctx context.Context, configJSON []byte, start SourceStart) (Source, error)
}

// SinkRole is a sink with its configuration; SinkOf makes it.
type SinkRole struct {
	// ExactlyOnce says that records and positions are stored in one
	// transaction of the target and older epochs are refused.
	ExactlyOnce bool
	Fields      []Field
	validate    func(configJSON []byte) []Fault
	open        func(ctx context.Context, configJSON []byte, start SinkStart) (Sink, []Position, error)
}

// SourceOf makes a role of an open function whose configuration is the struct
// C; FieldsOf tells its tags. open is called once, with a configuration that
// has no fault, and returns a source that stands at start.Position.
func SourceOf[C any](open func(ctx context.Context, config C, start SourceStart) (Source, error)) *SourceRole {
	return &SourceRole{
		Fields: FieldsOf(new(C)), validate: validateAs[C],
		open: func(ctx context.Context, configJSON []byte, start SourceStart) (Source, error) {
			config, err := decodeAs[C](configJSON)
			if err != nil {
				return nil, err
			}
			return open(ctx, config, start)
		},
	}
}

// SinkOf makes a role of an open function whose configuration is the struct C;
// FieldsOf tells its tags. open makes start.Epoch the target's newest, or
// returns ErrFenced; it returns the positions the target holds for
// start.Partitions. What is absent is read from its beginning.
func SinkOf[C any](open func(ctx context.Context, config C, start SinkStart) (Sink, []Position, error)) *SinkRole {
	return &SinkRole{
		ExactlyOnce: true, Fields: FieldsOf(new(C)), validate: validateAs[C],
		open: func(ctx context.Context, configJSON []byte, start SinkStart) (Sink, []Position, error) {
			config, err := decodeAs[C](configJSON)
			if err != nil {
				return nil, nil, err
			}
			return open(ctx, config, start)
		},
	}
}

// Validate checks a configuration and returns every fault.
func (r *SourceRole) Validate(configJSON []byte) []Fault { return r.validate(configJSON) }

// Open decodes the configuration and opens the source.
func (r *SourceRole) Open(ctx context.Context, configJSON []byte, start SourceStart) (Source, error) {
	return r.open(ctx, configJSON, start)
}

// Validate checks a configuration and returns every fault.
func (r *SinkRole) Validate(configJSON []byte) []Fault { return r.validate(configJSON) }

// Open decodes the configuration and opens the sink.
func (r *SinkRole) Open(ctx context.Context, configJSON []byte, start SinkStart) (Sink, []Position, error) {
	return r.open(ctx, configJSON, start)
}

func validateAs[C any](configJSON []byte) []Fault {
	return DecodeConfig(configJSON, new(C))
}

func decodeAs[C any](configJSON []byte) (C, error) {
	var config C
	if faults := DecodeConfig(configJSON, &config); len(faults) > 0 {
		return config, &configError{faults}
	}
	return config, nil
}

func (p Plugin) describe() *proto.DescribeResponse {
	d := &proto.DescribeResponse{Name: p.Name, Version: p.Version, Summary: p.Summary}
	if p.Source != nil {
		d.Roles = append(d.Roles, &proto.Role{Kind: proto.Kind_KIND_SOURCE, ExactlyOnce: true, Fields: fieldMessages(p.Source.Fields)})
	}
	if p.Sink != nil {
		d.Roles = append(d.Roles, &proto.Role{Kind: proto.Kind_KIND_SINK, ExactlyOnce: p.Sink.ExactlyOnce, Fields: fieldMessages(p.Sink.Fields)})
	}
	return d
}

func fieldMessages(fields []Field) []*proto.Field {
	out := make([]*proto.Field, len(fields))
	for i, f := range fields {
		out[i] = &proto.Field{Name: f.Name, Type: f.Type, Doc: f.Doc, Default: f.Default, Required: f.Required, Choices: f.Choices}
	}
	return out
}
