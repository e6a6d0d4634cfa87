import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.*;
import java.util.List;
import javax.management.MBeanServerConnection;
import javax.management.remote.JMXConnector;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXServiceURL;

/** Reads over one kept connection what a JVM exporter reads, as often as each line of input says; prints nanoseconds. */
public final class BeanReader {
    public static void main(String[] arguments) throws Exception {
        JMXServiceURL place = new JMXServiceURL("service:jmx:rmi:///jndi/rmi://127.0.0.1:" + arguments[0] + "/jmxrmi");
        JMXConnector connector = JMXConnectorFactory.connect(place);
        MBeanServerConnection server = connector.getMBeanServerConnection();
        MemoryMXBean memory = ManagementFactory.newPlatformMXBeanProxy(server, "java.lang:type=Memory", MemoryMXBean.class);
        ThreadMXBean threads = ManagementFactory.newPlatformMXBeanProxy(server, "java.lang:type=Threading", ThreadMXBean.class);
        ClassLoadingMXBean classes = ManagementFactory.newPlatformMXBeanProxy(server, "java.lang:type=ClassLoading", ClassLoadingMXBean.class);
        RuntimeMXBean runtime = ManagementFactory.newPlatformMXBeanProxy(server, "java.lang:type=Runtime", RuntimeMXBean.class);
        List<GarbageCollectorMXBean> collectors = ManagementFactory.getPlatformMXBeans(server, GarbageCollectorMXBean.class);
        List<MemoryPoolMXBean> pools = ManagementFactory.getPlatformMXBeans(server, MemoryPoolMXBean.class);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            StringBuilder answer = new StringBuilder();
            for (int i = Integer.parseInt(line.strip()); i > 0; i--) {
                long begun = System.nanoTime();
                long sum = memory.getHeapMemoryUsage().getUsed() + memory.getNonHeapMemoryUsage().getUsed();
                sum += threads.getThreadCount() + threads.getDaemonThreadCount() + threads.getPeakThreadCount();
                sum += classes.getLoadedClassCount() + runtime.getUptime();
                for (GarbageCollectorMXBean collector : collectors) {
                    sum += collector.getCollectionCount() + collector.getCollectionTime();
                }
                for (MemoryPoolMXBean pool : pools.subList(0, Math.min(4, pools.size()))) {
                    sum += pool.getUsage().getUsed();
                }
                answer.append(System.nanoTime() - begun).append(sum == 0 ? "0 " : " ");
            }
            System.out.println(answer.toString().strip());
        }
    }
}
