{{- define "batch.name" -}}
{{- if contains "autoenhance-batch" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-autoenhance-batch" (.Release.Name | trunc 34 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "batch.selector" -}}
app.kubernetes.io/name: autoenhance-batch
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "batch.labels" -}}
{{ include "batch.selector" . }}
app.kubernetes.io/part-of: autoenhance-batch
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{- define "batch.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "%s%s" .Chart.AppVersion (ternary "-shared" "" .Values.shared.enabled)) }}
{{- end }}
