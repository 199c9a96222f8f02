module robin/local_stack/blackbox-exporter

go 1.25.0

require github.com/prometheus/blackbox_exporter v0.28.0
