//go:build !unix

package main

func keepToOwner() {}
