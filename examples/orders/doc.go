// Package orders is a pipeline from files into SQLite: orders are filtered,
// priced in cents, joined with their customers and counted by country. Its
// tests kill every process on the way at random moments and compare the
// database with an independent computation over the input.
//
//	levada run examples/orders/pipeline.yaml
package orders
