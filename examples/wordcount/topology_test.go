package main

import (
	"testing"

	"github.com/levada/levada/runtime/streamtest"
)

func TestTopologyCountsWords(t *testing.T) {
	plan, err := Topology()
	if err != nil {
		t.Fatal(err)
	}
	d := streamtest.New(t, plan)
	in, out := streamtest.Input(d, Lines), streamtest.Output(d, Counts)
	in.Send(nil, "To be, or not to be")
	out.Want("to=1 be=1 or=1 not=1 to=2 be=2")
	in.Send(nil, "-- 1704 --")
	out.Want("")
	in.Send(nil, "BE!")
	out.Want("be=3")
}
