module robin/local_stack/gofakes3

go 1.26.5

require github.com/johannesboyne/gofakes3 v1.2.0
