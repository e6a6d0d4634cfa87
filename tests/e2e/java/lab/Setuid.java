package lab;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodType;
import jdk.incubator.foreign.Addressable;
import jdk.incubator.foreign.CLinker;
import jdk.incubator.foreign.FunctionDescriptor;

/** What Jetty's setuid module does for mailboxd: the JVM starts as root and becomes another user. */
final class Setuid {
    static void become(int id) throws Exception {
        call("setgid", id);
        call("setuid", id);
    }

    private static void call(String function, int id) throws Exception {
        Addressable address = CLinker.systemLookup().lookup(function).orElseThrow();
        MethodHandle handle = CLinker.getInstance().downcallHandle(
                address,
                MethodType.methodType(int.class, int.class),
                FunctionDescriptor.of(CLinker.C_INT, CLinker.C_INT));
        int result;
        try {
            result = (int) handle.invokeExact(id);
        } catch (Throwable e) {
            throw new IllegalStateException(function, e);
        }
        if (result != 0) {
            throw new IllegalStateException(function + " refused");
        }
    }
}
