// The objects of deploy/k8s, for Tanka and for plain jsonnet; a test holds both equal.
//
//   local obi = import 'obi/main.libsonnet';
//   obi { _config+:: { image: 'registry.example/obi:0.1.0', tolerations: [] } }
//
// Each field is one object. `pools` of `_config` makes a DaemonSet for each; without, one is on every node.
{
  _config:: {
    namespace: 'mop-system',
    image: 'obi:0.1.0',
    imagePullPolicy: 'IfNotPresent',
    // The union of what the enabled probes need: `obi doctor --emit capabilities`.
    capabilities: ['BPF', 'NET_ADMIN', 'PERFMON'],
    resources: { requests: { cpu: '50m', memory: '160Mi' }, limits: { cpu: '500m', memory: '512Mi' } },
    tolerations: [{ operator: 'Exists' }],
    spool: { hostPath: { path: '/var/lib/obi/spool', type: 'DirectoryOrCreate' } },
    metricsPort: 9090,
    healthPort: 8080,
    monitoringNamespace: 'monitoring',
    healthCheck: { schedule: '*/10 * * * *', args: ['--timeout', '5'] },
    // By name: the files of the configuration, and of the pools.
    files: {
      'ebpf-limits.yaml': importstr '../../../../config/ebpf-limits.yaml',
      'ebpf-network.yaml': importstr '../../../../config/ebpf-network.yaml',
      'ebpf-syscall.yaml': importstr '../../../../config/ebpf-syscall.yaml',
      'ebpf-tcp.yaml': importstr '../../../../config/ebpf-tcp.yaml',
      'identity.yaml': importstr '../../../../config/identity.yaml',
      'obi.yaml': importstr '../../../../config/obi.yaml',
      'otlp-logs.yaml': importstr '../../../../config/otlp-logs.yaml',
      'otlp-metrics.yaml': importstr '../../../../config/otlp-metrics.yaml',
      'otlp-resource-attributes.yaml': importstr '../../../../config/otlp-resource-attributes.yaml',
      'otlp-traces.yaml': importstr '../../../../config/otlp-traces.yaml',
    },
    poolFiles: {
      'busy.yaml': importstr '../../../../config/pools/busy.yaml',
      'small.yaml': importstr '../../../../config/pools/small.yaml',
    },
    // Names of pools that have a DaemonSet of their own, on the nodes labelled obi/pool=NAME; all other nodes are the default pool's.
    pools: [],
    // Further variables of the agent, such as OBI_OTLP__ENDPOINT.
    env: {},
  },

  local config = self._config,
  local labels = { app: 'obi' },
  local namespaced = { namespace: config.namespace, labels: labels },
  local pod(component) = labels {
    'app.kubernetes.io/name': 'obi',
    'app.kubernetes.io/component': component,
    'app.kubernetes.io/part-of': 'mop',
  },
  local safe = { privileged: false, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },

  namespace: {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name: config.namespace,
      labels: { ['pod-security.kubernetes.io/' + mode]: 'privileged' for mode in ['enforce', 'audit', 'warn'] },
    },
  },

  // --- who is who -----------------------------------------------------------------------------------------------------------------
  service_account: {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: namespaced { name: 'obi' },
    automountServiceAccountToken: false,
  },
  cluster_role: {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: 'obi', labels: labels },
    rules: [
      { apiGroups: [''], resources: ['pods', 'nodes', 'namespaces'], verbs: ['get', 'list', 'watch'] },
      { apiGroups: ['apps'], resources: ['replicasets'], verbs: ['get', 'list', 'watch'] },
    ],
  },
  cluster_role_binding: {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: 'obi', labels: labels },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'obi' },
    subjects: [{ kind: 'ServiceAccount', name: 'obi', namespace: config.namespace }],
  },

  priority_class: {
    apiVersion: 'scheduling.k8s.io/v1',
    kind: 'PriorityClass',
    metadata: { name: 'obi', labels: labels },
    value: 1000000,
    globalDefault: false,
    preemptionPolicy: 'PreemptLowerPriority',
    description: 'OBI must be on the node whose trouble it is to show.',
  },

  // --- settings -------------------------------------------------------------------------------------------------------------------
  local configMap(name, data) = { apiVersion: 'v1', kind: 'ConfigMap', metadata: namespaced { name: name }, data: data },
  config_map: configMap('obi-config', config.files),
  pools_config_map: configMap('obi-pools', config.poolFiles),
  health_check_config_map:
    configMap('obi-health-check', {
      'health-check.sh': importstr '../../../../tests/obi/health-check.sh',
      'lib.sh': importstr '../../../../tests/obi/lib.sh',
      'pods.sh': importstr '../../../../tests/obi/pods.sh',
    }),

  // --- the agents -----------------------------------------------------------------------------------------------------------------
  local field(name, path) = { name: name, valueFrom: { fieldRef: { fieldPath: path } } },
  local fromNode(name, path) = { name: name, hostPath: { path: path, type: 'Directory' } },
  local agent(name, pool) = {
    name: name,
    image: config.image,
    imagePullPolicy: config.imagePullPolicy,
    terminationMessagePolicy: 'FallbackToLogsOnError',
    env: [
      { name: 'OBI_CONFIG', value: '/etc/obi/config' },
      { name: 'OBI_METRICS__LISTEN', value: '0.0.0.0:%d' % config.metricsPort },
      { name: 'OBI_HTTP__LISTEN', value: '0.0.0.0:%d' % config.healthPort },
      { name: 'OBI_SPOOL__DIRECTORY', value: '/var/lib/obi/spool' },
      field('OBI_NODE_NAME', 'spec.nodeName'),
      field('K8S_NODE_NAME', 'spec.nodeName'),
      field('K8S_NAMESPACE_NAME', 'metadata.namespace'),
      field('K8S_POD_NAME', 'metadata.name'),
      field('K8S_POD_UID', 'metadata.uid'),
    ] + (if pool == 'default' then [] else [{ name: 'OBI_POOL', value: pool }])
      + [{ name: name, value: config.env[name] } for name in std.objectFields(config.env)],
    securityContext: safe { capabilities+: { add: config.capabilities } },
    resources: config.resources,
    volumeMounts: [
      { name: 'config', mountPath: '/etc/obi/config', readOnly: true },
      { name: 'otlp-certs', mountPath: '/etc/obi/otlp-certs', readOnly: true },
      { name: 'spool', mountPath: '/var/lib/obi/spool' },
      { name: 'tmp', mountPath: '/tmp' },
      { name: 'bpffs', mountPath: '/sys/fs/bpf', mountPropagation: 'HostToContainer' },
      { name: 'cgroup', mountPath: '/sys/fs/cgroup', readOnly: true },
      { name: 'tracefs', mountPath: '/sys/kernel/tracing', readOnly: true },
      { name: 'debugfs', mountPath: '/sys/kernel/debug', readOnly: true },
    ],
  },
  local get(path) = { httpGet: { path: path, port: config.healthPort }, timeoutSeconds: 5 },
  local others = if config.pools == [] then {} else {
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: 'obi/pool', operator: 'NotIn', values: config.pools }] }],
        },
      },
    },
  },
  local daemonSet(pool) = {
    local chosen = labels { pool: pool },
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: namespaced { name: if pool == 'default' then 'obi' else 'obi-' + pool, labels: chosen },
    spec: {
      selector: { matchLabels: chosen },
      minReadySeconds: 15,
      revisionHistoryLimit: 5,
      updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: '10%', maxUnavailable: 0 } },
      template: {
        metadata: {
          labels: pod('agent') { pool: pool },
          annotations: {
            ['container.apparmor.security.beta.kubernetes.io/' + name]: 'unconfined'
            for name in ['preflight', 'obi']
          },
        },
        spec: {
          serviceAccountName: 'obi',
          automountServiceAccountToken: true,
          priorityClassName: 'obi',
          hostPID: true,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: 30,
          nodeSelector: { 'kubernetes.io/os': 'linux' } + (if pool == 'default' then {} else { 'obi/pool': pool }),
          tolerations: config.tolerations,
          securityContext: {
            runAsUser: 0,
            runAsGroup: 0,
            runAsNonRoot: false,
            seccompProfile: { type: 'RuntimeDefault' },
          },
          initContainers: [agent('preflight', pool) { args: ['doctor', '--preflight'] }],
          containers: [agent('obi', pool) {
            args: ['run'],
            ports: [
              { name: 'metrics', containerPort: config.metricsPort, protocol: 'TCP' },
              { name: 'health', containerPort: config.healthPort, protocol: 'TCP' },
            ],
            startupProbe: get('/health') { periodSeconds: 2, failureThreshold: 60 },
            livenessProbe: get('/health') { periodSeconds: 20, failureThreshold: 3 },
            readinessProbe: get('/ready') { periodSeconds: 5, failureThreshold: 3 },
          }],
          volumes: [
            {
              name: 'config',
              projected: {
                defaultMode: 292,
                sources: [
                  { configMap: { name: 'obi-config' } },
                  {
                    configMap: {
                      name: 'obi-pools',
                      items: [{ key: file, path: 'pools/' + file } for file in std.objectFields(config.poolFiles)],
                    },
                  },
                ],
              },
            },
            { name: 'otlp-certs', secret: { secretName: 'obi-otlp-certs', optional: true, defaultMode: 256 } },
            { name: 'spool' } + config.spool,
            { name: 'tmp', emptyDir: { sizeLimit: '64Mi' } },
            fromNode('bpffs', '/sys/fs/bpf'),
            fromNode('cgroup', '/sys/fs/cgroup'),
            fromNode('tracefs', '/sys/kernel/tracing'),
            fromNode('debugfs', '/sys/kernel/debug'),
          ],
        } + (if pool == 'default' then others else {}),
      },
    },
  },
  daemon_set: daemonSet('default'),
  pool_daemon_sets: { [pool]: daemonSet(pool) for pool in config.pools },

  // --- who may talk to them -------------------------------------------------------------------------------------------------------
  local tcp(numbers) = [{ port: number, protocol: 'TCP' } for number in numbers],
  local both = [config.metricsPort, config.healthPort],
  local namespaceOf(name) = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': name } } },
  local names = { to: [namespaceOf('kube-system')], ports: [{ port: 53, protocol: 'UDP' }, { port: 53, protocol: 'TCP' }] },
  local policy(name, component, rules) = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: namespaced { name: name },
    spec: {
      podSelector: { matchLabels: labels { 'app.kubernetes.io/component': component } },
      policyTypes: ['Ingress', 'Egress'],
    } + rules,
  },
  service: {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: namespaced {
      name: 'obi',
      annotations: {
        'prometheus.io/scrape': 'true',
        'prometheus.io/port': '%d' % config.metricsPort,
        'prometheus.io/path': '/metrics',
      },
    },
    spec: {
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      selector: labels { 'app.kubernetes.io/component': 'agent' },
      ports: [
        { name: 'metrics', port: config.metricsPort, targetPort: config.metricsPort, protocol: 'TCP' },
        { name: 'health', port: config.healthPort, targetPort: config.healthPort, protocol: 'TCP' },
      ],
    },
  },
  network_policy: policy('obi', 'agent', {
    ingress: [{ from: [namespaceOf(config.monitoringNamespace), { podSelector: { matchLabels: labels } }], ports: tcp(both) }],
    egress: [
      names,
      { ports: tcp([4317, 4318]) },
      { to: [namespaceOf(config.monitoringNamespace)] },
      { ports: tcp([443, 6443]) },
    ],
  }),
  health_check_network_policy: policy('obi-health-check', 'health-check', { egress: [names, { ports: tcp(both) }] }),

  health_check: {
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: namespaced { name: 'obi-health-check' },
    spec: {
      schedule: config.healthCheck.schedule,
      concurrencyPolicy: 'Forbid',
      startingDeadlineSeconds: 120,
      successfulJobsHistoryLimit: 1,
      failedJobsHistoryLimit: 3,
      jobTemplate: {
        metadata: { labels: labels },
        spec: {
          backoffLimit: 0,
          activeDeadlineSeconds: 300,
          template: {
            metadata: { labels: pod('health-check') },
            spec: {
              restartPolicy: 'Never',
              automountServiceAccountToken: false,
              enableServiceLinks: false,
              nodeSelector: { 'kubernetes.io/os': 'linux' },
              securityContext: {
                runAsUser: 65534,
                runAsGroup: 65534,
                runAsNonRoot: true,
                seccompProfile: { type: 'RuntimeDefault' },
              },
              containers: [{
                name: 'health-check',
                image: config.image,
                imagePullPolicy: config.imagePullPolicy,
                command: ['/bin/bash', '/checks/health-check.sh'],
                args: ['--service', 'obi.%s.svc' % config.namespace] + config.healthCheck.args,
                terminationMessagePolicy: 'FallbackToLogsOnError',
                securityContext: safe,
                resources: { requests: { cpu: '10m', memory: '32Mi' }, limits: { cpu: '200m', memory: '64Mi' } },
                volumeMounts: [{ name: 'checks', mountPath: '/checks', readOnly: true }, { name: 'tmp', mountPath: '/tmp' }],
              }],
              volumes: [
                { name: 'checks', configMap: { name: 'obi-health-check', defaultMode: 292 } },
                { name: 'tmp', emptyDir: { sizeLimit: '16Mi' } },
              ],
            },
          },
        },
      },
    },
  },
}
