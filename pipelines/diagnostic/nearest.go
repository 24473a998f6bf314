package diagnostic

import "strings"

// maxDistance is how many slips a suggestion may mend, maxNameRunes the length
// above which names are not compared.
const (
	maxDistance  = 2
	maxNameRunes = 64
)

// Nearest returns the name of valid that was probably meant: at most two slips
// (a letter missing, too many, wrong, or two changed about) away, and fewer
// than half of its letters. Of equals the first one counts. Empty: none.
func Nearest(name string, valid []string) string {
	best, distance := "", maxDistance+1
	for _, v := range valid {
		if strings.EqualFold(v, name) {
			return v
		}
		if d := damerau([]rune(name), []rune(v)); d < distance && 2*d < len([]rune(v))+1 {
			best, distance = v, d
		}
	}
	return best
}

// Suggest is the help line for an unknown name: the nearest one, or all of
// them if they are few.
func Suggest(name string, valid []string) string {
	if near := Nearest(name, valid); near != "" {
		return `did you mean "` + near + `"?`
	}
	if len(valid) == 0 || len(valid) > 24 {
		return ""
	}
	return "known here: " + strings.Join(valid, ", ")
}

// damerau is the optimal string alignment distance, up to maxDistance+1.
func damerau(a, b []rune) int {
	if len(a) > maxNameRunes || len(b) > maxNameRunes || max(len(a)-len(b), len(b)-len(a)) > maxDistance {
		return maxDistance + 1
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
