plugins {
    id("com.android.application") version "8.7.0"
    id("org.jetbrains.kotlin.android") version "2.0.21"
}

android {
    namespace = "thimble.sample"
    compileSdk = 35
    defaultConfig {
        applicationId = "thimble.sample"
        minSdk = 24
        targetSdk = 35
        ndk { abiFilters += "arm64-v8a" }
        externalNativeBuild { cmake { arguments += listOf("-DANDROID_STL=none", "-DCMAKE_BUILD_TYPE=Release") } }
    }
    externalNativeBuild {
        cmake {
            path = file("src/main/cpp/CMakeLists.txt")
            version = "3.22.1"
        }
    }
}

kotlin { jvmToolchain(17) }
