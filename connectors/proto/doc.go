// Package proto is the plugin protocol: the messages and the service that a
// connector process and its host speak over gRPC. It holds no behaviour.
//
// docs/format/plugin-protocol.md describes handshake, order of messages, flow
// control and limits. The Go files are generated; after an edit of
// connector.proto run, with protoc (Debian: protobuf-compiler) installed:
//
//	go build -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
//	PATH=$PWD/bin:$PATH protoc -I connectors/proto --go_out=connectors/proto --go_opt=paths=source_relative \
//	    --go-grpc_out=connectors/proto --go-grpc_opt=paths=source_relative connector.proto
package proto
