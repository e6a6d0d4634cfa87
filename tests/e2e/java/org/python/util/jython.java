package org.python.util;

/** Carries the name of zmconfigd's main class. */
public final class jython {
    public static void main(String[] arguments) throws Exception {
        lab.Lever.main(arguments);
    }
}
