// Package row holds the values that pipelines work on: their types (Type), the
// values themselves (Row), how they are read and written (JSON by type, text,
// bytes; serdes for keys and values), and the sums of an aggregate.
//
// A value is what expressions take: string, int, float64, bool, time.Time,
// time.Duration, []byte, []any, map[string]any or nil. Which of int and
// float64 a JSON number becomes is said by its declared type; without one, a
// number without point and exponent is an int.
package row
