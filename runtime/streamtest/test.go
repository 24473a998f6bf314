package streamtest

import "reflect"

// helper marks the caller as a helper of the test, if there is a test:
// d.helper()().
func (d *Driver) helper() func() {
	if d.t == nil {
		return func() {}
	}
	return d.t.Helper
}

// must ends the test on an error; without a test it panics.
func (d *Driver) must(err error) {
	if err == nil {
		return
	}
	if d.t == nil {
		panic(err)
	}
	d.t.Helper()
	d.t.Fatal(err)
}

func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Func, reflect.Chan:
		return r.IsNil()
	}
	return false
}
