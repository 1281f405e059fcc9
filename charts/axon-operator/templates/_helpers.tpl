{{- /*
There is one operator per cluster (its kinds are cluster-wide), and OpenBao's and Keycloak's roles are bound to the
name of its service account. Hence fixed names, independent of the release.
*/ -}}

{{- define "axon-operator.selectorLabels" -}}
app.kubernetes.io/name: axon-operator
{{- end -}}

{{- define "axon-operator.labels" -}}
{{ include "axon-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: axon
{{- end -}}

{{- define "axon-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "axon-operator.caConfigMap" -}}
{{ ternary "axon-operator-backends-ca" .Values.backends.existingCaConfigMap (ne .Values.backends.caBundle "") }}
{{- end -}}

{{- /* How the API server names the operator. */ -}}
{{- define "axon-operator.username" -}}
system:serviceaccount:{{ .Release.Namespace }}:axon-operator
{{- end -}}

{{- /* The port of an https URL. */ -}}
{{- define "axon-operator.port" -}}
{{- $host := (urlParse .).host -}}
{{- if contains ":" $host }}{{ splitList ":" $host | last }}{{ else }}443{{ end -}}
{{- end -}}

{{- /* One egress rule to a backend's pods; takes a dict of peer and url. */ -}}
{{- define "axon-operator.egressToPeer" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .peer.namespace }}
      podSelector:
        matchLabels:
          {{- toYaml .peer.podLabels | nindent 10 }}
  ports:
    - protocol: TCP
      port: {{ include "axon-operator.port" .url }}
{{- end -}}
