package operators

import (
	"reflect"
	"unsafe"
)

// canBeNil tells whether nil is a value of T, and so stands for null.
func canBeNil[T any]() bool {
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return true
	}
	return false
}

// isNil tells whether *v, of a type that canBeNil, is nil: of all those types
// the first word is nil exactly then (a slice's array, an interface's type).
func isNil[T any](v *T) bool { return *(*unsafe.Pointer)(unsafe.Pointer(v)) == nil }

// isMutable tells whether a copy of a T shares memory with it that can be
// changed through it.
func isMutable[T any]() bool { return holdsReference(reflect.TypeFor[T]()) }

func holdsReference(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return true
	case reflect.Array:
		return holdsReference(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsReference(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}
