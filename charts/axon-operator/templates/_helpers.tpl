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

{{- define "axon-operator.canarySelectorLabels" -}}
app.kubernetes.io/name: axon-canary
{{- end -}}

{{- define "axon-operator.canaryLabels" -}}
{{ include "axon-operator.canarySelectorLabels" . }}
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

{{- /*
A condition of policies: Kubernetes itself is let through, which is its control plane, its controllers and the kubelets.
They act on what the operator declares, and no policy of ours may hold them up.
*/ -}}
{{- define "axon-operator.notKubernetes" -}}
- name: not-kubernetes-itself
  expression: >-
    !(request.userInfo.username in ['system:apiserver', 'system:kube-controller-manager', 'system:kube-scheduler'] ||
    request.userInfo.groups.exists(group, group in ['system:nodes', 'system:serviceaccounts:kube-system']))
{{- end -}}

{{- /* Another one: the operator is let through. */ -}}
{{- define "axon-operator.notTheOperator" -}}
- name: not-the-operator
  expression: request.userInfo.username != '{{ include "axon-operator.username" . }}'
{{- end -}}

{{- /*
Variables of a policy that can be set aside in an emergency: by a member of the groups of the values, where the object
or its namespace says why.
*/ -}}
{{- define "axon-operator.glass" -}}
# the object before and after, without what does not exist; the options of a connection have no metadata
- name: versions
  expression: "[dyn(object), dyn(oldObject)].filter(version, version != null && has(version.metadata))"
- name: mayBreakGlass
  expression: request.userInfo.groups.exists(group, group in {{ .Values.admissionPolicies.breakGlassGroups | toJson }})
- name: reasons
  expression: >-
    (variables.versions + (namespaceObject == null ? [] : [dyn(namespaceObject)]))
    .map(version, version.metadata.?annotations['axonos.ai/break-glass'].orValue('')).filter(reason, reason != '')
- name: glassIsBroken
  expression: variables.mayBreakGlass && size(variables.reasons) > 0
{{- end -}}

{{- /* The end of messages that refuse. */ -}}
{{- define "axon-operator.inAnEmergency" -}}
in an emergency a cluster administrator breaks the glass (axonos.ai/break-glass, docs/operations.md)
{{- end -}}

{{- /* The reason, in the API server's audit log of each request that a broken glass lets through. */ -}}
{{- define "axon-operator.auditGlass" -}}
- key: break-glass
  valueExpression: "variables.glassIsBroken ? variables.reasons[0] : ''"
{{- end -}}

{{- /* Makes a policy hold; takes a dict of root and name. */ -}}
{{- define "axon-operator.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "axon-operator.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end -}}
