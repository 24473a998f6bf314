package logbroker

import (
	"reflect"
	"slices"
)

// once leaves out of a list what it names again, in place: of what Kafka tells once.
func once[T any, K comparable](list []T, key func(*T) K) []T {
	if len(list) < 2 {
		return list
	}
	seen := make(map[K]bool, len(list))
	return slices.DeleteFunc(list, func(e T) bool {
		k := key(&e)
		again := seen[k]
		seen[k] = true
		return again
	})
}

// itself is the key of what is nothing but a name or a number.
func itself[T comparable](e *T) T { return *e }

// room is how many bytes an answer has left for what its request names again. What is told
// of one thing can be large, and its name short: were it told as often as it is named, the
// answer to a small request could be larger than memory.
type room int

const maxRoom room = 1 << 20

// take takes room for so many bytes, if there is some.
func (r *room) take(size int) bool {
	if size > int(*r) {
		return false
	}
	*r -= room(size)
	return true
}

// repeats tells of things; of those that are named again the same again, while there is
// room.
type repeats[K comparable, V any] struct {
	room *room
	told map[K]*told[V]
}

type told[V any] struct {
	value V
	size  int // 0 before it is asked for
}

func repeatsIn[K comparable, V any](r *room) repeats[K, V] {
	return repeats[K, V]{r, map[K]*told[V]{}}
}

// add appends to a list what is to be told of a thing.
func (r repeats[K, V]) add(list []V, key K, tell func() V) []V {
	t := r.told[key]
	switch {
	case t == nil:
		t = &told[V]{value: tell()}
		r.told[key] = t
		return append(list, t.value)
	case t.size == 0:
		t.size = sizeOf(reflect.ValueOf(t.value), int(*r.room))
	}
	if !r.room.take(t.size) {
		return list
	}
	return append(list, t.value)
}

// sizeOf is the size of a value with all that it points to, which is not less than what it
// takes in an answer. Above the limit it is not counted to the end.
func sizeOf(v reflect.Value, limit int) int {
	size := int(v.Type().Size())
	switch v.Kind() {
	case reflect.String:
		size += v.Len()
	case reflect.Pointer:
		if !v.IsNil() {
			size += sizeOf(v.Elem(), limit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			size += sizeOf(v.Field(i), limit) - int(v.Field(i).Type().Size())
		}
	case reflect.Slice:
		if elem := v.Type().Elem(); elem.Kind() < reflect.Complex64 { // numbers
			return size + v.Len()*int(elem.Size())
		}
		for i := 0; i < v.Len() && size <= limit; i++ {
			size += sizeOf(v.Index(i), limit)
		}
	}
	return size
}
